_base_ = [
    '../datasets/dior_hbb.py',
    '../models/cascade-rcnn_r50_nasfpn.py',
    '../schedules/schedule_1x.py',
    '../runtime_hbb.py',
]

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=20) for head in _base_.model.roi_head.bbox_head]
    )
)
