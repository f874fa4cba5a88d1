_base_ = [
    '../_base_/datasets/dior.py',
    '../_base_/models/roi-trans-le90_r50_nasfpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=20) for head in _base_.model.roi_head.bbox_head]
    )
)
