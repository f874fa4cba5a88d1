# Rotated RetinaNet on NAS-FPN: see
# faster-rcnn_r50_nasfpn_coco.py for the reasons of every number of the neck.
# Its head has always started at stride 8.
_base_ = './rotated-retinanet-rbox-le90_r50_fpn.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    neck=dict(
        _delete_=True,
        type='mmdet.NASFPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        num_outs=5,
        start_level=1,
        stack_times=7,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
)
