_base_ = 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_isaid-896x896.py'

# Where the tools look for it; `pretrained` is handed to the backbone as this.
model = dict(
    pretrained=None,
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c')),
)
# A resumed run equals an uninterrupted one though both crop and flip at random.
default_hooks = dict(random_state=dict(type='RandomStateHook'))
randomness = dict(seed=0)
