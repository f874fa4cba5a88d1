# The second detector: Oriented R-CNN on the backbone, the neck and the training of the first, with
# fewer proposals and a smaller head than MMRotate's, for a CPU.
_base_ = './rotated-retinanet_effnet-lite0_fpn.py'

from mmengine.hub import get_config  # noqa: E402

model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model._delete_ = True  # the first detector's
model.data_preprocessor = _base_.model.data_preprocessor
model.backbone = _base_.model.backbone
model.neck = _base_.model.neck

# Anchors' sides are 12, 24, 48 and 96 pixels: persons are 8 to 15.
model.rpn_head.update(in_channels=64, feat_channels=64)
model.rpn_head.anchor_generator.update(scales=[1.5], strides=[8, 16, 32, 64])
model.roi_head.bbox_roi_extractor.update(out_channels=64, featmap_strides=[8, 16, 32])
model.roi_head.bbox_head.update(num_classes=3, in_channels=64, fc_out_channels=256)

model.train_cfg.rpn_proposal.update(nms_pre=500, max_per_img=200)
model.train_cfg.rcnn.sampler.num = 128
model.test_cfg.rpn.update(nms_pre=500, max_per_img=200)
model.test_cfg.rcnn.max_per_img = 200
