# The detector of the toy study: that of the demo on smaller scenes, with the optimizer of the zoo.
_base_ = [
    '../../demo/_base_/rotated-retinanet_r18_fpn_toy-dota.py',
    '../../_base_/methods/custom_imports.py',
]

# The scenes are 160 pixels wide: a step of 8 takes less than a second on one core.
scale = (160, 160)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip')
train_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='mmdet.PackDetInputs'),
]
val_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys[:-1]),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# The committed results are of runs without RandomStateHook, with which a run draws other numbers.
# MMEngine has no other way to leave a hook of a base out: it refuses None.
default_hooks = {k: v for k, v in _base_.default_hooks.items() if k != 'random_state'}
default_hooks['_delete_'] = True
default_hooks['logger'] = dict(default_hooks['logger'], interval=10)
default_hooks['checkpoint'] = dict(default_hooks['checkpoint'], interval=4, max_keep_ckpts=1)
