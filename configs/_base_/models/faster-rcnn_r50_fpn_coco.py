_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

model = dict(
    # "Full" is to be all of it, as in the paper: mmdet's 1 would hold the stem and the first stage
    # fixed under every method. The statistics of its batch norms stay ImageNet's (norm_eval).
    backbone=dict(frozen_stages=-1),
)
