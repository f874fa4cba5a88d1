_base_ = './runtime.py'

# The metric of horizontal boxes reports under another name.
default_hooks = dict(checkpoint=dict(save_best='pascal_voc/mAP'))

# mmrotate's own visualizer refuses boxes of four numbers.
visualizer = dict(type='mmdet.DetLocalVisualizer')
