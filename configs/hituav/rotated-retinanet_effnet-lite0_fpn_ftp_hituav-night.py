# Everything trains inside learned balls around the start.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='ftp', k=1.0, target='backbone')]
