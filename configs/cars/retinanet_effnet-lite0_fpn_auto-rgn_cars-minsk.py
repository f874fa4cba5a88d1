# Everything trains; the learning rate of a stage follows its relative gradient norm, measured
# before every epoch. `sign=-1` turns the rule around.
_base_ = './retinanet_effnet-lite0_fpn_full_cars-minsk.py'

optim_wrapper = dict(constructor='StageOptimWrapperConstructor')
custom_hooks = [dict(type='RGNLearningRateHook', sign=1, by='stage', num_batches=5)]
