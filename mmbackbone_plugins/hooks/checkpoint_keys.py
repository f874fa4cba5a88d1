"""What the hooks keep in a checkpoint, beside the model and its optimizer."""

ANCHOR_KEY = 'mmbackbone_anchor'  # theta0: reference tensors by name, shared by the hooks
REFERENCE_KEY = 'mmbackbone_reference'  # fingerprint of an anchor file, by name of the hook
IMPORTANCE_KEY = 'mmbackbone_importance'  # importance, by name of the hook
PROJECTION_KEY = 'mmbackbone_projection'  # learned radii, by name of the hook
COST_KEY = 'mmbackbone_cost'  # the ledger as it was then
UNLOADED_KEY = 'mmbackbone_unloaded'  # reasons by name of parameters that no file has filled
DECISIONS_KEY = 'mmbackbone_decisions'  # what a schedule decided, and what epochs cost
RANDOM_KEY = 'mmbackbone_random'  # what random numbers depend on: seed, processes, batch size
