_base_ = [
    '../_base_/datasets/loveda.py',
    '../_base_/models/upernet_swin-t.py',
    '../_base_/schedules/schedule_100e_loveda.py',
    '../_base_/methods/custom_imports.py',
    '../_base_/runtime_loveda.py',
]

# Half of the run each. probed.pth is the other end of an interpolation with the last checkpoint.
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=0.5),
        target='backbone',
        keep_probed=True,
    )
]
