_base_ = [
    '../datasets/dior.py',
    '../models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]

model = dict(bbox_head=dict(num_classes=20))
