# The backbone trains in the listed epochs only: the 100-epoch example of the authors' code,
# range(1, 100, 20). Unlike rho=20, the first epoch is frozen, so that new heads send no gradient
# into the backbone before they have seen the data once.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='MilestoneFreezing', train_epochs=[1, 21, 41, 61, 81]),
        target='backbone',
    )
]
