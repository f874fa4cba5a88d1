_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/oriented-rcnn-le90_vit-b_sfp.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
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
