_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../optimizers/sgd.py']

# DOTA has 15 classes. A patch may hold hundreds of objects: limits as in mmrotate's detectors,
# COCO's 100 detections an image would cut them off.
model = dict(
    bbox_head=dict(num_classes=15),
    test_cfg=dict(nms_pre=2000, max_per_img=2000),
)

# mmdet's 0.01 is for 16 images; this is the same for two.
optim_wrapper = dict(optimizer=dict(lr=0.00125))
