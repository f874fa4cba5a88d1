# As auto_rgn.py, with the opposite claim: the most pulled trains least.
_base_ = './custom_imports.py'

custom_hooks = [dict(type='RGNLearningRateHook', sign=-1, by='stage', target='backbone')]
