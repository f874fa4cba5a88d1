_base_ = [
    '../_base_/datasets/loveda.py',
    '../_base_/models/upernet_swin-t.py',
    '../_base_/schedules/schedule_100e_loveda.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime_loveda.py',
]
