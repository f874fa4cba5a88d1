# The second of two runs: fine-tuning from the weights of a probed detector, held back from where
# its backbone started. The first is its namesake in configs/frozen, with `frozen` in its name.
_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/oriented-rcnn-le90_r50_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/rgn_reg.py',
    '../_base_/runtime.py',
]

load_from = 'work_dirs/oriented-rcnn-le90_r50_fpn_frozen-1x_dota/epoch_12.pth'
