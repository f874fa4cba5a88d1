# Which stages train is decided before every epoch, for 0.7 of the cost of full fine-tuning.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='BudgetedFreezing', budget=0.7, signal='rgn'),
        target='backbone',
    ),
]
