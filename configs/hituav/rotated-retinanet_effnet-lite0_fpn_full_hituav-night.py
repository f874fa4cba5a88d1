# Everything trains.
_base_ = [
    './_base_/rotated-retinanet_effnet-lite0_fpn.py',
    './_base_/hituav_night.py',
]
