# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/sgd.py'

from mmengine.hub import get_config  # noqa: E402

# The detector alone, on NAS-FPN: see faster-rcnn_r50_nasfpn_coco.py for the
# reasons of every number of the neck.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.data_preprocessor.pad_size_divisor = 128
model.neck = dict(
    type='mmdet.NASFPN',
    in_channels=[256, 512, 1024, 2048],
    out_channels=256,
    num_outs=5,
    start_level=1,
    stack_times=7,
    norm_cfg=dict(type='SyncBN', requires_grad=True),
)
model.rpn_head.anchor_generator.update(scales=[4], strides=[8, 16, 32, 64, 128])
model.roi_head.bbox_roi_extractor.update(featmap_strides=[8, 16, 32, 64], finest_scale=112)

# mmrotate's value for its two-stage detectors.
optim_wrapper = dict(optimizer=dict(lr=0.005))
