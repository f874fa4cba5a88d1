_base_ = [
    '../_base_/datasets/lvis_lsj1280_scp.py',
    '../_base_/models/mask-rcnn_effb7_nasfpn_coco.py',
    '../_base_/schedules/schedule_72e_coco.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime_coco.py',
]

# LVIS: 1203 classes, up to 300 detections an image at a low threshold, as in mmdet's configs.
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    test_cfg=dict(rcnn=dict(score_thr=0.0001, max_per_img=300)),
)
