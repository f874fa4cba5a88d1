_base_ = [
    '../datasets/dior.py',
    '../models/rotated-retinanet-rbox-le90_swin-s_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]

model = dict(bbox_head=dict(num_classes=20))
