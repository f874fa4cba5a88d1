_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', '../optimizers/sgd.py']

# DOTA has 15 classes. A patch may hold hundreds of objects: limits as in mmrotate's detectors,
# COCO's 100 detections an image would cut them off.
model = dict(
    roi_head=dict(bbox_head=dict(num_classes=15)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=2000)),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=2000),
    ),
)

# mmdet's 0.02 is for 16 images; 0.0025 is the same for two, and what ../optimizers/sgd.py has.
