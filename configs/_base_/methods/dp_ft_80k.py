# Probing, then fine-tuning, in one run: nothing of the backbone trains in the first 80,000
# iterations, everything after. Counted in iterations, as the loop does.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=80000, by_epoch=False),
        target='backbone',
        keep_probed=True,  # the start of tools/interpolate_weights.py
    )
]
