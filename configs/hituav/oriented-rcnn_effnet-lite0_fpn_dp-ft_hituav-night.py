# Neck and head first, after half of the epochs everything. `probed.pth` is the start of an
# interpolation.
_base_ = './oriented-rcnn_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=0.5),
        target='backbone',
        keep_probed=True,
    ),
]
