# The backbone trains in every epoch, and is watched: how hard the loss pulls it, how far it moves.
_base_ = ['./_base_/rotated-retinanet_r18_fpn_toy-dota.py', '../_base_/methods/custom_imports.py']

custom_hooks = [
    # The run is short: every 5 steps, and few pictures for the features.
    dict(type='RGNHook', target='backbone', interval=5),
    dict(type='DriftHook', target='backbone', interval=1, num_images=8),
]
