# The second stage for a long tail: nothing but the last layer of the three classifiers of a cascade
# trains. Everything else, the statistics of norm layers included, stays as the first stage left it.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target=['backbone', 'neck', 'rpn_head', 'roi_head.mask_head']
        + [f'roi_head.bbox_head.{s}.{p}' for s in range(3) for p in ('shared_fcs', 'fc_reg')],
    )
]
