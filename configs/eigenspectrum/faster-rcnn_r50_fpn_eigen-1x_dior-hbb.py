_base_ = [
    '../_base_/datasets/dior_hbb.py',
    '../_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/eigen.py',
    '../_base_/runtime_hbb.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
