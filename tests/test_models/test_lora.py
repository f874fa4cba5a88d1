"""MMPretrain's LoRAModel as the backbone of a detector, as it is."""

import copy
import re
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from torch import nn

from mmbackbone_plugins import Freezer, StageMap, training_flops
from mmbackbone_plugins.lab import launch

pytestmark = pytest.mark.run
pytest.importorskip('mmpretrain.models')
FROZEN = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))


def model(weights=None):
    init_cfg = weights and dict(type='Pretrained', checkpoint=str(weights))
    lora = dict(type='mmpretrain.LoRAModel', module=rig.swin(init_cfg=init_cfg), drop_rate=0.5)
    lora.update(alpha=4, rank=2, targets=[dict(type='.*qkv')])
    found = rig.detector(backbone=lora)
    found['neck'].update(start_level=0)
    return found


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file of pre-trained weights; without one, mmdet's Swin draws LoRA's own layers anew."""
    path = tmp_path_factory.mktemp('weights') / 'swin.pth'
    plain = rig.build(rig.swin())
    plain.init_weights()
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in plain.state_dict().items()}), path)
    return path


def parameters(runner):
    return {n: p.detach().clone() for n, p in rig.model_of(runner).named_parameters()}


def run(work_dir, hooks, weights, **options):
    """Trains two epochs; parameters before and after (a checkpoint has not all of them)."""
    built = rig.runner(
        work_dir,
        hooks=[*hooks, dict(type='Reseed')],
        model=model(weights),
        epochs=2,
        optimizer=rig.ADAMW,
        **options,
    )
    before = parameters(built)
    built.train()
    return built, rig.equal(before, parameters(built), 'backbone.')


def test_blocks_train_beside_what_the_model_keeps_frozen(weights, tmp_path):
    """With a schedule, its own freezing and a resumed run; the checkpoint has the blocks alone."""
    hooks = [FROZEN, dict(type='RGNHook', interval=1), dict(type='DriftHook')]
    whole, moved = run(tmp_path / 'whole', hooks, weights)
    assert len(moved) == 10 and all('.lora_' in name for name in moved)
    record = rig.recorder(whole)
    asleep = record.in_eval[-1]
    assert 'backbone.module.stages.0' in asleep
    assert not any('.lora_' in name for name in asleep)

    first = tmp_path / 'whole' / 'epoch_1.pth'
    state = torch.load(first, weights_only=False)['state_dict']
    assert sorted(k for k in state if k.startswith('backbone.')) == sorted(moved)
    resumed, _ = run(tmp_path / 'resumed', hooks, weights, load_from=str(first), resume=True)
    assert not rig.equal(parameters(whole), parameters(resumed))
    assert rig.recorder(resumed).losses == record.losses[4:]


@pytest.mark.parametrize('freeze_blocks', [False, True])
def test_a_schedule_rules_over_blocks_if_it_is_told_to(freeze_blocks, weights, tmp_path):
    built, moved = run(tmp_path, [rig.dbf(2, freeze_blocks=freeze_blocks)], weights)
    assert moved and all('.lora_' in name for name in moved)
    _, after_first, after_second = rig.recorder(built).states
    still = not rig.equal(after_first, after_second, 'backbone.')
    assert still == freeze_blocks


def test_the_regulariser_has_nothing_to_hold(weights, tmp_path):
    hook = dict(type='DistortionRegularizerHook', importance='uniform')
    with pytest.raises(ValueError, match='nothing to regularise.*never trains.*added block'):
        run(tmp_path, [hook], weights)


@pytest.mark.newer_torch
def test_cost_counts_no_gradient_of_what_stays_frozen():
    """Counted as it is, and as it would be if the model let all of it train."""
    flops = {}
    built = rig.build(model())
    for name, free in (('lora', False), ('all', True)):
        for parameter in built.backbone.parameters():
            parameter.requires_grad_(free or parameter.requires_grad)
        freezer = Freezer(built, StageMap.of(built))
        freezer.apply(freezer.stage_map.names)
        sample = rig.DrawnScenes()[0]
        data = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        data = built.data_preprocessor(data, training=True)
        flops[name] = training_flops(built, data['inputs'], data['data_samples'])
    assert flops['lora'].forward == flops['all'].forward
    assert flops['lora'].backward < 0.8 * flops['all'].backward


def test_a_checkpoint_is_looked_at_with_the_weights_that_it_lacks(weights, tmp_path):
    built, _ = run(tmp_path, [FROZEN], weights)
    cfg = Config(dict(model=model(weights), default_scope='mmdet'))
    found, _ = launch.build_detector(cfg, str(tmp_path / 'epoch_2.pth'), seed=5, device='cpu')
    assert not rig.equal(parameters(built), {n: p for n, p in found.named_parameters()})


def test_merging_as_the_documentation_has_it():
    text = (Path(__file__).parents[2] / 'docs' / 'blocks.md').read_text()
    (code,) = re.findall(r'```python\n(import torch\nfrom mmpretrain.*?)```', text, re.DOTALL)
    scope = {}
    exec(code, scope)
    built = rig.build(model()).double().eval()
    for name, parameter in built.backbone.named_parameters():
        if '.lora_' in name:
            nn.init.normal_(parameter)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    before, plain = built.backbone(x), rig.build(rig.swin())
    merged = scope['merge_lora'](copy.deepcopy(built))
    assert merged.backbone.state_dict().keys() == plain.state_dict().keys()
    for a, b in zip(before, merged.backbone(x)):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)
