# Everything trains.
_base_ = [
    './_base_/oriented-rcnn_effnet-lite0_fpn.py',
    './_base_/hituav_night.py',
]
