_base_ = [
    '../_base_/datasets/coco_lsj1280.py',
    '../_base_/models/cascade-rcnn_r50_nasfpn_coco.py',
    '../_base_/schedules/schedule_72e_coco.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime_coco.py',
]
