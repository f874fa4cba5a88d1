# Every stage of the backbone has a learning rate by its relative gradient norm, measured before
# each epoch: the most pulled trains most. A config makes one group of parameters a stage.
_base_ = './custom_imports.py'

custom_hooks = [dict(type='RGNLearningRateHook', sign=1, by='stage', target='backbone')]
