# As budget_rgn.py, but those train that have moved least from their pre-trained weights.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='BudgetedFreezing', budget=0.85, signal='drift', sign=-1),
        target='backbone',
    )
]
