# Decoder probing, then fine-tuning, in one run: the backbone is frozen in epochs 0 to 3 and trains
# from epoch 4 on. Of 12 epochs that leaves it 4 at the full learning rate and 4 below it.
_base_ = './custom_imports.py'

# A list replaces the inherited one: a config that adds hooks of its own repeats this entry.
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=4),
        target='backbone',
    )
]
