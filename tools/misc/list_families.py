"""Writes the table of families in docs/reference/families.md: each is built, small, and divided.

python tools/misc/list_families.py
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.registry import MODELS

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser, run_tool  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / 'docs/reference/families.md'
HEAD = '| package | family | stages | blocks attach |'
# Small members of each family. The tests of stages build the same ones.
_FOUR = (1, 1, 1, 1)
_CSP = dict(deepen_factor=0.17, widen_factor=0.125)
_POOL = dict(layers=_FOUR, embed_dims=(8, 16, 24, 32), mlp_ratios=_FOUR, layer_scale_init_value=1)
_VIT = dict(num_layers=5, embed_dims=24, num_heads=2, feedforward_channels=24)
_TINY_VIT = dict(channels=(8, 16, 24, 32), num_heads=_FOUR, window_sizes=(7, 7, 7, 7), depths=_FOUR)
_TWINS = dict(
    embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1], num_heads=[1] * 4, strides=[4, 2, 2, 2]
)
_TWINS.update(patch_sizes=[4, 2, 2, 2], mlp_ratios=[1] * 4, sr_ratios=[8, 4, 2, 1])
_TWINS_SVT = dict(_TWINS, window_sizes=[7] * 4)
_HRNET = {
    f'stage{i}': dict(
        num_modules=1,
        num_branches=i,
        block='BASIC' if i > 1 else 'BOTTLENECK',
        num_blocks=_FOUR[:i],
        num_channels=tuple(8 * 2**j for j in range(i)),
    )
    for i in range(1, 5)
}
_ALL = dict(out_indices=(0, 1, 2, 3))
MMPRETRAIN: dict[str, dict[str, Any]] = {
    'VisionTransformer': dict(arch=_VIT, img_size=64),
    'BEiTViT': dict(arch=_VIT, img_size=64, use_rel_pos_bias=False, use_shared_rel_pos_bias=True),
    'DeiT3': dict(arch=_VIT, img_size=64),
    'ViTEVA02': dict(arch=_VIT, img_size=64, sub_ln=True),
    'ViTSAM': dict(arch=dict(_VIT, global_attn_indexes=(2, 4)), img_size=64, out_channels=8),
    'SwinTransformer': dict(
        arch=dict(embed_dims=8, depths=_FOUR, num_heads=_FOUR), window_size=2, img_size=64, **_ALL
    ),
    'SwinTransformerV2': dict(
        arch=dict(embed_dims=8, depths=_FOUR, num_heads=_FOUR, extra_norm_every_n_blocks=0),
        img_size=64,
        window_size=2,
        **_ALL,
    ),
    'ConvNeXt': dict(arch=dict(depths=_FOUR, channels=(8, 16, 24, 32)), **_ALL),
    'EfficientNet': dict(arch='b0'),
    'EfficientNetV2': dict(arch='b0'),
    'MobileNetV2': dict(widen_factor=0.25),
    'MobileNetV3': dict(arch='small'),
    'RegNet': dict(arch='regnetx_400mf'),
    'ResNet': dict(depth=18),
    'ResNeXt': dict(depth=50, groups=2, width_per_group=2),
    'RepVGG': dict(
        arch=dict(num_blocks=_FOUR, width_factor=(0.25,) * 4, group_layer_map=None, se_cfg=None)
    ),
    'TinyViT': dict(arch=_TINY_VIT, img_size=(224, 224), **_ALL),
    'MViT': dict(
        arch=dict(embed_dims=8, num_layers=6, num_heads=1, downscale_indices=(1, 3, 5)),
        out_scales=(0, 1, 2, 3),
        img_size=64,
    ),
    'PoolFormer': dict(arch=_POOL, out_indices=(0, 2, 4, 6)),
    'HRNet': dict(extra=_HRNET),
    'CSPDarkNet': dict(depth=53),
    'DenseNet': dict(arch=dict(growth_rate=8, depths=_FOUR, init_channels=16), **_ALL),
    'PCPVT': dict(arch=_TWINS, **_ALL),
    'SVT': dict(arch=_TWINS_SVT, **_ALL),
    # No rule knows this one.
    'XCiT': dict(img_size=64, embed_dims=24, depth=2, num_heads=2, cls_attn_layers=1),
    'VAN': dict(arch=dict(embed_dims=(8, 16, 24, 32), depths=_FOUR, ffn_ratios=_FOUR), **_ALL),
}
TIMM: dict[str, dict[str, Any]] = {
    'resnet10t': {},
    'regnetx_002': {},
    'efficientnet_lite0': {},
    'mobilenetv3_small_050': {},
    'convnext_atto': {},
    'swin_tiny_patch4_window7_224': dict(embed_dim=8, depths=_FOUR, num_heads=_FOUR),
    'swinv2_tiny_window8_256': dict(embed_dim=8, depths=_FOUR, num_heads=_FOUR, img_size=64),
    'vit_tiny_patch16_224': dict(embed_dim=24, depth=5, num_heads=2, img_size=64),
    'eva02_tiny_patch14_224': dict(embed_dim=24, depth=5, num_heads=2, img_size=56),
    'maxvit_pico_rw_256': dict(img_size=64),
}
MMDET: dict[str, dict[str, Any]] = {
    'PyramidVisionTransformer': dict(num_layers=_FOUR, embed_dims=8),
    'PyramidVisionTransformerV2': dict(num_layers=_FOUR, embed_dims=8),
    'CSPDarknet': _CSP,
    'CSPNeXt': _CSP,
    'Darknet': {},
    'EfficientNet': dict(arch='b0'),
    'ResNet': dict(depth=18, base_channels=16),
    'ResNeXt': dict(depth=50, groups=4, base_width=4, base_channels=16),
    'ResNeSt': dict(depth=50, stem_channels=8, base_channels=8),
    'Res2Net': dict(depth=50, scales=4, base_width=6, base_channels=16),
    'RegNet': dict(arch='regnetx_400mf'),
    'HourglassNet': dict(
        downsample_times=2,
        num_stacks=2,
        stage_channels=(8, 8, 12),
        stage_blocks=(1, 1, 1),
        feat_channel=8,
    ),
    'HRNet': dict(extra=_HRNET),
    'SwinTransformer': dict(embed_dims=8, depths=_FOUR, num_heads=_FOUR, window_size=2),
    'MobileNetV2': dict(widen_factor=0.25),
    'SSDVGG': dict(depth=11),
    'TridentResNet': dict(
        depth=50,
        num_branch=3,
        test_branch_idx=1,
        trident_dilations=(1, 2, 3),
        base_channels=8,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    'DetectoRS_ResNet': dict(
        depth=50,
        base_channels=8,
        output_img=True,
        rfp_inplanes=8,
        stage_with_sac=(False, True, True, True),
    ),
}


def families() -> dict[str, dict[str, Any]]:
    """Config of a small member of each family; ``:features`` is timm's ``features_only=True``."""
    found = {f'mmpretrain.{n}': dict(type=f'mmpretrain.{n}', **o) for n, o in MMPRETRAIN.items()}
    for name, options in TIMM.items():
        wrapper = dict(type='mmpretrain.TIMMBackbone', model_name=name, **options)
        found[f'timm.{name}'] = wrapper
        found[f'timm.{name}:features'] = dict(wrapper, features_only=True)
    return {**found, **{f'mmdet.{n}': dict(type=f'mmdet.{n}', **o) for n, o in MMDET.items()}}


def row(name: str, stage_map: Any) -> str:
    """The row of a family, without its last column."""
    package, _, family = name.partition('.')
    family = family.replace(':features', ' (`features_only`)')
    stages = [n for n in stage_map.names if n.startswith('stage')]
    if not stages:
        return f'| {package} | {family} | no rule: traced, {len(stage_map)} parts |'
    others = [n for n in ('stem', 'rest') if n in stage_map.names]
    listed = f'`{stages[0]}` to `{stages[-1]}`'
    listed = f'`stem`, {listed}' if 'stem' in others else listed
    listed = f'{listed}, `rest`' if 'rest' in others else listed
    return f'| {package} | {family} | {listed} |'


def blocks_attach(config: dict[str, Any]) -> str:
    """Where ``StageBlockBackbone`` finds places for its blocks."""
    blocks = dict(type='StageBlockBackbone', backbone=config, block=dict(type='ResidualAdapter'))
    answer = 'no'
    for position, found in (('after_stage', 'yes'), ('in_blocks', 'yes, and in layers')):
        try:
            MODELS.build(dict(blocks, position=position))
            answer = found
        except ValueError:
            break
    return answer


def work() -> None:
    from mmbackbone_plugins import StageMap
    from mmbackbone_plugins.lab.launch import register_modules

    register_modules()
    import_module('mmpretrain.models')
    warnings.simplefilter('ignore')
    rows = [
        f'{row(name, StageMap.of(MODELS.build(config), ""))} {blocks_attach(config)} |'
        for name, config in families().items()
    ]
    lines = PAGE.read_text(encoding='utf-8').splitlines()
    start = lines.index(HEAD) + 2
    end = lines.index('', start)
    PAGE.write_text('\n'.join([*lines[:start], *rows, *lines[end:], '']), encoding='utf-8')


def main(argv=None) -> int:
    make_parser(__doc__).parse_args(argv)
    return run_tool(work)


if __name__ == '__main__':
    sys.exit(main())
