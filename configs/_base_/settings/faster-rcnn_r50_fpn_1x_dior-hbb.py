_base_ = [
    '../datasets/dior_hbb.py',
    '../models/faster-rcnn_r50_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime_hbb.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
