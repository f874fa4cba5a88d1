"""A detector's skeleton for tests of what was loaded: a ViT with the layers that RVSA adds to it.

RVSA (ViTAE-Transformer's Remote-Sensing-RVSA) makes a pyramid of the one map of a ViT by ``fpn1``
and others, which no pre-trained file has; names of children are as there.
"""

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.mlp = nn.LayerNorm(width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return x + self.drop(torch.tanh(self.mlp(self.norm1(x))))


@MODELS.register_module(force=True)
class SmallRVSA(BaseModule):
    def __init__(self, width: int = 6, init_cfg=None, frozen: tuple = ()) -> None:
        super().__init__(init_cfg)
        self.patch_embed = nn.Conv2d(3, width, 8, 8)
        self.pos_embed = nn.Parameter(torch.zeros(1, 16, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.fpn1 = nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, 2),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.ConvTranspose2d(width, width, 2, 2),
        )
        self.frozen = frozen

    def forward(self, images):
        x = self.patch_embed(images).flatten(2).mT + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x).mT
        return self.fpn1(x.unflatten(2, (4, 4)))

    def train(self, mode: bool = True):
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        return super().train(mode)

    def stage_prefixes(self):
        return [
            ('embed', ['patch_embed']),
            *((f'stage{i + 1}', [f'blocks.{i}']) for i in range(3)),
            ('last', ['norm', 'fpn1']),
        ]


@MODELS.register_module(force=True)
class SmallDetector(BaseModel):
    def __init__(self, backbone: dict, init_cfg=None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Conv2d(6, 1, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        images = torch.stack(list(inputs)).float() / 255
        wanted = nn.functional.adaptive_avg_pool2d(images[:, :1], 16)
        return dict(loss=((self.head(self.backbone(images)) - wanted) ** 2).mean())


def weights(prefix: str = '', width: int = 6, drop: tuple = ('fpn1',)) -> dict[str, torch.Tensor]:
    """What a pre-training leaves: values that no initialisation makes, but for norms as new."""
    generator = torch.Generator().manual_seed(5)
    state = SmallRVSA(width).state_dict()
    found = {
        name: torch.randn(t.shape, generator=generator) * 0.3
        if t.is_floating_point() and 'norm1' not in name
        else t
        for name, t in state.items()
    }
    return {f'{prefix}{n}': t for n, t in found.items() if not n.startswith(drop or ('-',))}


def model(checkpoint=None, **options) -> dict:
    init = dict(type='Pretrained', checkpoint=str(checkpoint)) if checkpoint else None
    if init and 'prefix' in options:
        init['prefix'] = options.pop('prefix')
    return dict(type='SmallDetector', backbone=dict(type='SmallRVSA', init_cfg=init, **options))
