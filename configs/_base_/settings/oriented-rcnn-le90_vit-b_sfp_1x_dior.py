_base_ = [
    '../datasets/dior.py',
    '../models/oriented-rcnn-le90_vit-b_sfp.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
