# Before every epoch it is decided which stages train, for 0.7 of the cost of full fine-tuning.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='BudgetedFreezing', budget=0.7, signal='rgn', sign=1),
        target='backbone',
    ),
]
