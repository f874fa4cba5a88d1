# The backbone trains in every epoch, from ImageNet weights.
_base_ = [
    './_base_/rotated-retinanet_effnet-lite0_fpn_toy-dota.py',
    '../_base_/methods/full.py',
]
