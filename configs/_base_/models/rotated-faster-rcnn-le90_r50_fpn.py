# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/sgd.py'

from mmengine.hub import get_config  # noqa: E402

# The detector alone, as in rotated-retinanet-rbox-le90_r50_fpn.py.
model = get_config(
    'mmrotate::rotated_faster_rcnn/rotated-faster-rcnn-le90_r50_fpn_1x_dota.py'
).model

# mmrotate's value for its two-stage detectors.
optim_wrapper = dict(optimizer=dict(lr=0.005))
