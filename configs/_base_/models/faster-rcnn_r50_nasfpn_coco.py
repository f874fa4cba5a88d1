# NAS-FPN on levels 3 to 7, seven cells, as in mmdet's RetinaNet and in the paper's public files.
_base_ = './faster-rcnn_r50_fpn_coco.py'

model = dict(
    # 128: the sizes of seven levels that are halved and added must match.
    data_preprocessor=dict(pad_size_divisor=128),
    neck=dict(
        _delete_=True,
        type='NASFPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        num_outs=5,
        start_level=1,
        stack_times=7,
        # Two images a GPU are too few for a statistic; without several GPUs it is a plain BN.
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    # FPN starts at stride 4 with anchors of 8 strides; half of that keeps them at 32 to 512 px.
    rpn_head=dict(anchor_generator=dict(scales=[4], strides=[8, 16, 32, 64, 128])),
    roi_head=dict(
        # 112: objects of 224 px are pooled at stride 16, as before; 56 is for a first level of 4.
        bbox_roi_extractor=dict(featmap_strides=[8, 16, 32, 64], finest_scale=112),
    ),
)
