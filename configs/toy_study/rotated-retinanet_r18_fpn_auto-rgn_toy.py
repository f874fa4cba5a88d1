# Everything trains, each stage of the backbone at a rate by its relative gradient norm.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(type='RGNLearningRateHook', sign=1, by='stage', floor=0.0, target='backbone'),
]
optim_wrapper = dict(constructor='StageOptimWrapperConstructor')
