_base_ = [
    '../datasets/dota.py',
    '../models/rotated-retinanet-rbox-le90_r50_nasfpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
