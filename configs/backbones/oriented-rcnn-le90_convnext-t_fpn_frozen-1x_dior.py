_base_ = [
    '../_base_/datasets/dior.py',
    '../_base_/models/oriented-rcnn-le90_convnext-t_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
]

custom_imports = dict(imports=['mmpretrain.models', 'mmbackbone_plugins'])

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
