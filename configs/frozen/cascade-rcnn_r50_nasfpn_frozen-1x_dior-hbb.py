_base_ = [
    '../_base_/datasets/dior_hbb.py',
    '../_base_/models/cascade-rcnn_r50_nasfpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime_hbb.py',
]

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=20) for head in _base_.model.roi_head.bbox_head]
    )
)
