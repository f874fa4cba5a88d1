# After every step the backbone's weights are taken back into a ball around their pre-trained
# values, whose radius is learned for each tensor.
_base_ = './custom_imports.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='ftp', k=1.0, target='backbone')]
