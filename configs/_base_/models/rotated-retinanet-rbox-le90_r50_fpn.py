# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/sgd.py'

from mmengine.hub import get_config  # noqa: E402

# The detector alone: mmrotate keeps it in one file with its data, schedule and runtime, and a
# config cannot inherit a file without those.
model = get_config(
    'mmrotate::rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py'
).model
