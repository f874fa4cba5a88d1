# EfficientNet-B7 of mmdet with mmpretrain's ImageNet checkpoint. The paper's better one is of
# JFT-300M, which is not public; mmpretrain's nearest is `efficientnet-b7_3rdparty-ra-noisystudent`.
_base_ = './cascade-mask-rcnn_r50_nasfpn_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='EfficientNet',
        arch='b7',
        # strides 8, 16 and 32; what comes after the last is not built
        out_indices=(3, 4, 5),
        frozen_stages=0,
        drop_path_rate=0.2,
        norm_cfg=dict(type='BN', requires_grad=True, eps=1e-3, momentum=0.01),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/efficientnet/'
            'efficientnet-b7_3rdparty_8xb32-aa_in1k_20220119-bf03951c.pth',
        ),
    ),
    neck=dict(in_channels=[80, 224, 640], start_level=0),
)
