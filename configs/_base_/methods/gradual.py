# Of 12 epochs the backbone is frozen in the first two; then its deepest stage trains, and one more
# every second epoch. Its first stage and stem stay as R50 keeps them (`frozen_stages=1`), so that
# all of it that can trains from the seventh epoch on, as in dp_ft.py.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='GradualUnfreezing', start=2, every=2),
        target='backbone',
    )
]
