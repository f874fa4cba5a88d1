# The paper's detector and data set, as MMDetection trains it (16 images a step).
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '../_base_/methods/eigen.py']

default_hooks = dict(random_state=dict(type='RandomStateHook'))
