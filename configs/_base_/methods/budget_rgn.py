# Before every epoch the run decides which stages train, for at most 0.85 of the cost of full
# fine-tuning: those that are pulled hardest. An R50 that never trains costs about 0.77 here.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='BudgetedFreezing', budget=0.85, signal='rgn'),
        target='backbone',
    )
]
