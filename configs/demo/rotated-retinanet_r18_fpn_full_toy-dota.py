# The backbone trains in every epoch: what the two others are compared with.
_base_ = ['./_base_/rotated-retinanet_r18_fpn_toy-dota.py', '../_base_/methods/full.py']
