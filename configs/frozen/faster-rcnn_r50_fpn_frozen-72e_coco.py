_base_ = [
    '../_base_/datasets/coco_lsj.py',
    '../_base_/models/faster-rcnn_r50_fpn_coco.py',
    '../_base_/schedules/schedule_72e_coco.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime_coco.py',
]
