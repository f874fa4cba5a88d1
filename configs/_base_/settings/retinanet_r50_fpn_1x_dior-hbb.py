_base_ = [
    '../datasets/dior_hbb.py',
    '../models/retinanet_r50_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime_hbb.py',
]

model = dict(bbox_head=dict(num_classes=20))
