_base_ = [
    '../_base_/datasets/voc_shift.py',
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/schedules/schedule_160k_voc.py',
    '../_base_/methods/dp_ft_80k.py',
    '../_base_/runtime_iter.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
