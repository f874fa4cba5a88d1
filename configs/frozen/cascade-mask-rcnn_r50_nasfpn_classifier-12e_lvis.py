_base_ = [
    '../_base_/datasets/lvis_lsj1280_balanced.py',
    '../_base_/models/cascade-mask-rcnn_r50_nasfpn_coco.py',
    '../_base_/schedules/schedule_12e_coco.py',
    '../_base_/methods/classifier_cascade.py',
    '../_base_/runtime_coco.py',
]

# LVIS: 1203 classes, up to 300 detections an image at a low threshold, as in mmdet's configs.
model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=1203) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=1203),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0001, max_per_img=300)),
)

# The weights of the first stage.
load_from = 'work_dirs/cascade-mask-rcnn_r50_nasfpn_frozen-scp-72e_lvis/epoch_72.pth'
