# Decoder probing, then fine-tuning, in one run: of 12 epochs the backbone is frozen in the first
# half and trains in the second, at all three learning rates.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
        keep_probed=True,  # the start of tools/interpolate_weights.py
    )
]
