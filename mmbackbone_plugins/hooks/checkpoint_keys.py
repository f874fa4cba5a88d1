"""What the hooks keep in a checkpoint, beside the model and its optimizer."""

ANCHOR_KEY = 'mmbackbone_anchor'  # theta0: reference tensors by name, shared by the hooks
REFERENCE_KEY = 'mmbackbone_reference'  # fingerprint of an anchor file, by name of the hook
IMPORTANCE_KEY = 'mmbackbone_importance'  # importance, by name of the hook
COST_KEY = 'mmbackbone_cost'  # the ledger as it was then
RANDOM_KEY = 'mmbackbone_random'  # what random numbers depend on: seed, processes, batch size
