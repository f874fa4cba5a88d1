_base_ = [
    '../_base_/models/deeplabv3plus_r50-d8_isaid.py',
    '../_base_/methods/frozen.py',
]
