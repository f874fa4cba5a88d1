# `_base_` stays above the import: see oriented-rcnn-le90_swin-s_fpn.py.
_base_ = '../optimizers/adamw.py'

from mmengine.hub import get_config  # noqa: E402

# mmrotate's detector on mmpretrain's plain ViT-B, pre-trained as a masked autoencoder on ImageNet
# without labels, and the simple feature pyramid of ViTDet. Attention is global in every block
# (ViTDet's is windowed in most), so memory grows with the square of the tokens: with_cp=True in
# layer_cfgs, or smaller pictures, where it does not fit.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.backbone = dict(
    type='mmpretrain.VisionTransformer',
    arch='base',
    img_size=1024,  # the position embedding is resized from 224 when it is loaded
    patch_size=16,
    out_type='featmap',
    drop_path_rate=0.1,
    init_cfg=dict(
        type='Pretrained',
        prefix='backbone.',
        checkpoint='https://mmassets.onedl.ai/mmselfsup/1.x/mae/'
        'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k/'
        'mae_vit-base-p16_8xb512-fp16-coslr-1600e_in1k_20220825-f7569ca2.pth',
    ),
)
model.neck = dict(type='SimpleFeaturePyramid', in_channels=768, out_channels=256, num_outs=5)

# Of a plain ViT the names differ from Swin's: no decay for positions, class token and norms.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'pos_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
            '.ln': dict(decay_mult=0.0),
        }
    )
)
