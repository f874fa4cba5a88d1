"""What was loaded is what the modules were given, whatever the file calls it."""

import copy

import pytest
import rig
import torch
from mmengine.model import BaseModule
from torch import nn

from mmbackbone_plugins.utils.checkpoints import fitting_prefix
from mmbackbone_plugins.utils.loading import LoadRecord, WeightFile, weight_files

VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16),
    img_size=32,
    patch_size=8,
    out_type='featmap',
    with_cls_token=False,
)


def build(config):
    import mmpretrain.models  # noqa: F401
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope('mmpretrain')
    return MODELS.build(config)


@pytest.fixture
def file(tmp_path):
    """A ViT of half the size in the image, as pre-trained ones are, without its last norm."""
    net = build(dict(VIT, img_size=16))
    net.init_weights()
    state = {n: t for n, t in net.state_dict().items() if not n.startswith('ln1')}
    path = tmp_path / 'vit.pth'
    torch.save(dict(state_dict=state), path)
    return dict(type='Pretrained', checkpoint=str(path))


def test_what_a_module_resizes_is_loaded(file):
    net = build(dict(VIT, init_cfg=file))
    record = LoadRecord(net)
    net.init_weights()
    assert net.pos_embed.shape == (1, 16, 8)  # of 4 in the file
    assert record.close() == {'ln1.weight': '', 'ln1.bias': ''}


def test_lora_initialises_before_anybody_looks(file):
    targets = [dict(type='.*qkv')]
    lora = dict(type='LoRAModel', module=dict(VIT, init_cfg=file), rank=2, alpha=2, targets=targets)
    net = build(lora)
    before, state = copy.deepcopy(net.module.state_dict()), torch.get_rng_state()
    record = LoadRecord(net)
    assert torch.equal(state, torch.get_rng_state())
    net.init_weights()
    missing = {n for n in record.close() if '.lora_' not in n}
    assert missing == {'module.ln1.weight', 'module.ln1.bias'}
    assert not rig.equal(before, net.module.state_dict())


class Part(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.one, self.two = nn.Linear(2, 2), nn.LayerNorm(2)


def test_what_was_built_with_its_weights_is_loaded():
    """As timm's are, which mmpretrain marks as initialised."""
    net = nn.ModuleDict(dict(a=Part(), b=Part()))
    net['a'].is_init = True
    assert set(LoadRecord(net).close()) == {f'b.{n}' for n, _ in net['b'].named_parameters()}


def test_reasons_and_copies():
    net = Part()
    record = LoadRecord(net)
    averaged = copy.deepcopy(net)  # as EMAHook has it
    averaged.load_state_dict(averaged.state_dict())
    state = copy.deepcopy(net.state_dict())
    state['one.weight'] = torch.ones(3, 2)
    with pytest.raises(RuntimeError, match='size mismatch'):
        net.load_state_dict(state)
    nn.init.ones_(net.one.bias)
    assert record.close() == {
        'one.weight': 'shape (3, 2) in the file, (2, 2) in the model',
        'one.bias': 'set anew after it was loaded',
    }
    averaged.load_state_dict(averaged.state_dict())  # the hook of a copy stays, and does nothing
    assert not any(m._load_state_dict_pre_hooks for m in net.modules())


def test_half_precision_files_and_ones_of_one_value_fill():
    net = nn.ModuleDict(dict(a=nn.Linear(2, 2, bias=False)))
    net.register_parameter('scale', nn.Parameter(torch.tensor(1.0)))
    record = LoadRecord(net)
    net.load_state_dict({'a.weight': torch.rand(2, 2).half(), 'scale': torch.tensor([3.0])})
    assert record.close() == {}


def test_files_of_a_model():
    net = nn.ModuleDict(
        dict(
            a=Part([dict(type='Constant', val=0), dict(type='Pretrained', checkpoint='x.pth')]),
            b=Part(dict(type='Pretrained', checkpoint='y.pth', prefix='b.')),
        )
    )
    files = list(weight_files(net))
    assert files == [WeightFile('a', 'x.pth'), WeightFile('b', 'y.pth', 'b.')]
    assert [f.concerns('a.one') for f in files] == [f.concerns('a') for f in files] == [True, False]
    assert WeightFile('', 'z.pth').concerns('b') and not WeightFile('ab', 'z.pth').concerns('a')


@pytest.mark.parametrize(
    'found, wanted, prefix',
    [
        (['a.b.x', 'a.b.y', 'c.x'], ['x', 'y'], 'a.b.'),
        (['x', 'y'], ['x', 'y'], ''),
        (['a.x', 'other'], ['x', 'y', 'z'], None),
        (['ax'], ['x'], None),
        ([], [], None),
    ],
)
def test_a_prefix_that_would_fit(found, wanted, prefix):
    assert fitting_prefix(found, wanted) == prefix
