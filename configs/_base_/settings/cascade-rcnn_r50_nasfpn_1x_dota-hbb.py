_base_ = [
    '../datasets/dota_hbb.py',
    '../models/cascade-rcnn_r50_nasfpn.py',
    '../schedules/schedule_1x.py',
    '../runtime_hbb.py',
]
