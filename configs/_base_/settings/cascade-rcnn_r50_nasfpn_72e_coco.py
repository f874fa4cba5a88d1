_base_ = [
    '../datasets/coco_lsj1280.py',
    '../models/cascade-rcnn_r50_nasfpn_coco.py',
    '../schedules/schedule_72e_coco.py',
    '../runtime_coco.py',
]
