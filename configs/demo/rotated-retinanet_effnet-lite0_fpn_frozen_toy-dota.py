# The backbone keeps its ImageNet weights; only the neck and the head train.
_base_ = [
    './_base_/rotated-retinanet_effnet-lite0_fpn_toy-dota.py',
    '../_base_/methods/frozen.py',
]
