_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_fpn_1x_dior.py',
    '../_base_/methods/auto_rgn.py',
]

optim_wrapper = dict(constructor='StageOptimWrapperConstructor')  # one group a stage
