# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/sgd.py'

from mmengine.hub import get_config  # noqa: E402

# RoI Transformer is mmrotate's cascade: a first head turns upright proposals into oriented ones, a
# second refines those. The detector alone, as in rotated-retinanet-rbox-le90_r50_fpn.py.
model = get_config('mmrotate::roi_trans/roi-trans-le90_r50_fpn_1x_dota.py').model

# mmrotate's value for its two-stage detectors.
optim_wrapper = dict(optimizer=dict(lr=0.005))
