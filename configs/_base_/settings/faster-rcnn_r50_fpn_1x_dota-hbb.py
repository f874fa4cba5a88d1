_base_ = [
    '../datasets/dota_hbb.py',
    '../models/faster-rcnn_r50_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime_hbb.py',
]
