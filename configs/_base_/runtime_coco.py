_base_ = 'mmdet::_base_/default_runtime.py'

# The checkpoint to report is the last one: COCO's val2017 is what results are reported on, so no
# split is left to choose an earlier one with.
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2),
    # A resumed run equals an uninterrupted one though both flip and sample at random.
    random_state=dict(type='RandomStateHook'),
)

# Runs that are compared start from the same head and see the images in the same order.
randomness = dict(seed=0)
