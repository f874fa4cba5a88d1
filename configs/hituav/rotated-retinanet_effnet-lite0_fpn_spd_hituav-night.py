# Everything trains; steps that lead away from the start against the gradient are taken back.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='spd', coeff=1.0, target='backbone')]
