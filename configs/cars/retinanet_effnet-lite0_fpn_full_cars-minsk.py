# Everything trains.
_base_ = ['./_base_/retinanet_effnet-lite0_fpn.py', './_base_/cars_minsk.py']
