# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/sgd.py'

from mmengine.hub import get_config  # noqa: E402

# The detector alone, on NAS-FPN: see faster-rcnn_r50_nasfpn_coco.py for the
# reasons of every number of the neck. Its head has always started at stride 8.
model = get_config(
    'mmrotate::rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py'
).model
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
