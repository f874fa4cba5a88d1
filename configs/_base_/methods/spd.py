# After every step the backbone's weights are taken back towards their pre-trained values, where the
# gradient asks to go back. A config sets the backbone's weight decay to 0: this stands in its
# place.
_base_ = './custom_imports.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='spd', coeff=1.0, target='backbone')]
