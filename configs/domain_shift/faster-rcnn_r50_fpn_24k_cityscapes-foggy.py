_base_ = [
    '../_base_/datasets/cityscapes_foggy.py',
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/schedules/schedule_24k_cityscapes.py',
    '../_base_/methods/full.py',
    '../_base_/runtime_iter.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=8)))
