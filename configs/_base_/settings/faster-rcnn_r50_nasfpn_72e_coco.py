_base_ = [
    '../datasets/coco_lsj.py',
    '../models/faster-rcnn_r50_nasfpn_coco.py',
    '../schedules/schedule_72e_coco.py',
    '../runtime_coco.py',
]
