# Everything trains; what is tested is the exponential moving average of all weights.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [dict(type='EMAHook', momentum=0.002)]
