_base_ = [
    '../_base_/settings/oriented-rcnn-le90_convnext-t_fpn_1x_dior.py',
    '../_base_/methods/full.py',
]

custom_imports = dict(imports=['mmpretrain.models', 'mmbackbone_plugins'])
