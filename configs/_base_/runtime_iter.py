_base_ = 'mmdet::_base_/default_runtime.py'

# Iterations instead of epochs. The checkpoint to report is the last one: the paper's test sets are
# all the labels there are, and choosing a checkpoint by a shifted test set would defeat it.
default_hooks = dict(
    checkpoint=dict(interval=10000, by_epoch=False, max_keep_ckpts=2),
    # A resumed run equals an uninterrupted one though both flip and sample at random.
    random_state=dict(type='RandomStateHook'),
)
log_processor = dict(by_epoch=False)

# Runs that are compared start from the same head and see the images in the same order.
randomness = dict(seed=0)
