# Everything trains, the backbone projected into a ball around its weights after every step.
_base_ = './_base_/target.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='ftp', k=1.0, target='backbone')]
