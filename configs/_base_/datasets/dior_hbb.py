# DIOR-R for horizontal detectors: every oriented box becomes the upright one around it.
# The mAP is one of upright boxes: not comparable with the mAP of oriented boxes, nor quite with
# published DIOR numbers, whose upright boxes are annotated apart.
_base_ = './dior.py'

train_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='hbox')),
    dict(type='mmdet.Resize', scale=(800, 800), keep_ratio=True),
    dict(type='mmdet.RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='mmdet.PackDetInputs'),
]
val_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=(800, 800), keep_ratio=True),
    # after Resize: predictions are compared at the scale of the file
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='hbox')),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))

# VOCMetric takes the boxes that the pipeline made. CocoMetric would take the raw annotation and
# read the first two corners of a quadrilateral as a box, without a word.
val_evaluator = dict(_delete_=True, type='mmdet.VOCMetric', metric='mAP', eval_mode='11points')
test_evaluator = dict(_delete_=True, type='mmdet.VOCMetric', metric='mAP', eval_mode='11points')
