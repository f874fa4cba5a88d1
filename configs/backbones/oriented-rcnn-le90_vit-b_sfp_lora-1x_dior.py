_base_ = [
    '../_base_/settings/oriented-rcnn-le90_vit-b_sfp_1x_dior.py',
    '../_base_/methods/frozen.py',
]

custom_imports = dict(imports=['mmpretrain.models', 'mmbackbone_plugins'])

# Low-rank updates of the attention's projections (LoRA, arXiv 2106.09685) as mmpretrain makes them;
# its checkpoints hold them alone. The backbone is loaded while the model is built.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.LoRAModel',
        module=_base_.model.backbone,
        alpha=16,
        rank=16,
        targets=[dict(type='.*attn.qkv'), dict(type='.*attn.proj')],
    ),
)
