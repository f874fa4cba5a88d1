_base_ = [
    '../datasets/dior.py',
    '../models/roi-trans-le90_r50_nasfpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=20) for head in _base_.model.roi_head.bbox_head]
    )
)
