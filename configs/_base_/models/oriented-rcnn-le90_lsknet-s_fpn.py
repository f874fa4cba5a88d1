# `_base_` stays above the import: see oriented-rcnn-le90_swin-s_fpn.py.
_base_ = '../optimizers/adamw.py'

from mmengine.hub import get_config  # noqa: E402

# mmrotate's detector on LSKNet-S, which neither family has: the fork of MMRotate that registers it
# has to be imported, by custom_imports=dict(imports=['MODULE', 'mmbackbone_plugins']). Its ImageNet
# weights are to be had from the authors' page (arXiv 2303.09030), by hand.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.backbone = dict(
    type='LSKNet',
    embed_dims=[64, 128, 320, 512],
    depths=[2, 2, 4, 2],
    drop_rate=0.1,
    drop_path_rate=0.1,
    norm_cfg=dict(type='BN', requires_grad=True),  # SyncBN there, for eight GPUs
    init_cfg=dict(type='Pretrained', checkpoint='data/weights/lsk_s_backbone.pth.tar'),
)
model.neck.in_channels = [64, 128, 320, 512]
