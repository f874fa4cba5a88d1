_base_ = 'mmrotate::_base_/default_runtime.py'

# The checkpoint to report is the best one on the validation split, as the authors of DBF do it;
# of the others, the two newest are enough to resume from.
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='dota/mAP', rule='greater'),
    # A resumed run equals an uninterrupted one though both flip and sample at random.
    random_state=dict(type='RandomStateHook'),
)

# Runs that are compared start from the same head and see the images in the same order. Repeat
# with other seeds before believing a small difference.
randomness = dict(seed=0)

# All learning rates of the zoo are for one GPU with two images; `--auto-scale-lr` scales them.
auto_scale_lr = dict(enable=False, base_batch_size=2)
