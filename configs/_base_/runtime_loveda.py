_base_ = 'mmseg::_base_/default_runtime.py'

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=10, save_best='mIoU', max_keep_ckpts=2),
    # A resumed run equals an uninterrupted one though both crop and flip at random.
    random_state=dict(type='RandomStateHook'),
)
log_processor = dict(by_epoch=True)

# Runs that are compared start from the same head and see the images in the same order.
randomness = dict(seed=0)
