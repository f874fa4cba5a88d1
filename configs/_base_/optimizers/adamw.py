# For Swin: AdamW as in mmdet's and mmrotate's Swin configs, for one GPU with two images.
# No smaller learning rate for the backbone (mmrotate 1.x has a tenth): it would be a second brake
# beside the freezing schedule, and "full" would no longer be full fine-tuning.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=35, norm_type=2),
)
