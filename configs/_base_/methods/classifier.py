# The second stage for a long tail: nothing but the last layer of the classifier trains. Everything
# else, the statistics of norm layers included, stays as the first stage left it.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target=[
            'backbone',
            'neck',
            'rpn_head',
            'roi_head.mask_head',
            'roi_head.bbox_head.shared_fcs',
            'roi_head.bbox_head.fc_reg',
        ],
    )
]
