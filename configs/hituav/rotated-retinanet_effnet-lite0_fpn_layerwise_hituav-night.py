# Everything trains; each stage has 0.6 of the learning rate of the stage above it, the highest
# that of the backbone.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={f'backbone.layers.{i}': dict(lr_mult=0.03 * 0.6 ** (5 - i)) for i in range(6)}
    )
)
