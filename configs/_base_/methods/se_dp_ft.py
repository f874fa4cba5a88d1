# Probing, then fine-tuning, with added blocks: for 6 epochs neck, head and blocks train and the
# backbone is frozen, then everything trains. The paper's authors do it in two runs, each
# with a whole schedule of its own; half of the epochs for each is our choice.
_base_ = './custom_imports.py'

# A list replaces the inherited one: a config that adds hooks of its own repeats this entry.
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
    )
]
