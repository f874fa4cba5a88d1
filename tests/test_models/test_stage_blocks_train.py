"""Blocks in real runs: they train while every original parameter and buffer stands still."""

import json

import pytest
import rig
import torch
from torch import nn

FROZEN = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
SE = dict(block='SEBlock', init='identity', reduction=4)
BN = dict(norm_cfg=dict(type='BN'))


def split(before, after):
    """Names in a backbone that moved and that did not: (blocks, the original) for each."""
    changed = set(rig.equal(before, after, 'backbone.'))
    every = {k for k in before if k.startswith('backbone.')}
    blocks = {k for k in every if k.startswith('backbone.blocks.')}
    return changed & blocks, blocks - changed, changed - blocks


def assert_blocks_alone_move(before, after):
    moved, still, original = split(before, after)
    assert not original, sorted(original)[:3]
    assert moved and not still, sorted(still)[:3]
    rest = {k for k in before if not k.startswith('backbone.')}
    assert {k for k in rest if k.endswith('weight')} <= set(rig.equal(before, after))


CASES = {
    'resnet-se-amp': dict(
        backbone=rig.with_blocks(rig.resnet(), **SE), wrapper=dict(type='CpuAmpOptimWrapper')
    ),
    'resnet-own-frozen-stages': dict(
        backbone=rig.with_blocks(dict(rig.resnet(frozen_stages=1), norm_eval=True), **BN)
    ),
    'resnet-checkpointing': dict(backbone=rig.with_blocks(rig.resnet(with_cp=True), **SE)),
    'swin-se': dict(backbone=rig.with_blocks(rig.swin(), **SE), optimizer=rig.ADAMW),
    'swin-mona-in-layers': dict(
        backbone=rig.with_blocks(rig.swin(frozen_stages=2, with_cp=True), 'Mona')
        | dict(position='in_blocks'),
        optimizer=rig.ADAMW,
    ),
    'convnext-adapter': dict(backbone=rig.with_blocks(rig.convnext()), optimizer=rig.ADAMW),
    'oriented': dict(backbone=rig.with_blocks(rig.resnet(), **SE), kind='oriented-rcnn'),
}


@pytest.mark.usefixtures('plain_convolutions')  # for mixed precision
@pytest.mark.parametrize('name', CASES)
def test_frozen_backbone_with_blocks(name, tmp_path):
    case = dict(CASES[name])
    model = rig.detector(case.pop('kind', 'retinanet'), case.pop('backbone'))
    record = rig.train(tmp_path, hooks=[FROZEN], model=model, epochs=1, **case)
    assert_blocks_alone_move(record.states[0], record.states[-1])
    for trains, sleeps in zip(record.trains, record.in_eval):
        inside = {n for n in trains if n.startswith('backbone.')}
        assert inside and all(n.startswith('backbone.blocks.') for n in inside)
        asleep = {n for n in sleeps if n.startswith('backbone.')}
        assert asleep and not any(n.startswith('backbone.blocks') for n in asleep)


@pytest.mark.parametrize('frozen', [1, 4])
def test_the_backbones_own_frozen_stages_without_a_hook(frozen, tmp_path):
    backbone = dict(rig.resnet(frozen_stages=frozen), norm_eval=True)
    model = rig.detector(backbone=rig.with_blocks(backbone, **BN))
    record = rig.train(tmp_path, model=model, epochs=1)
    moved, still, original = split(record.states[0], record.states[-1])
    assert moved and not still
    layers = {n.split('.')[1] for n in original}
    assert layers == {f'layer{i}' for i in range(frozen + 1, 5)}


def test_step_freezing_with_blocks(tmp_path):
    model = rig.detector(backbone=rig.with_blocks(rig.swin(), **SE))
    hooks = [rig.dbf(2), dict(type='RGNHook', interval=1), dict(type='DriftHook')]
    record = rig.train(
        tmp_path, hooks=hooks, model=model, epochs=3, optimizer=rig.ADAMW, log_level='INFO'
    )
    for epoch, (before, after) in enumerate(zip(record.states, record.states[1:])):
        if epoch % 2:
            assert_blocks_alone_move(before, after)
        else:
            moved, still, original = split(before, after)
            assert moved and not still and len(original) > 30
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'stage1.block' in log
    (path,) = tmp_path.rglob('rgn.jsonl')
    frozen = [json.loads(line) for line in path.read_text().splitlines()][5]['stages']
    assert frozen['stage1'] == 'frozen' and frozen['stage1.block']['mean'] > 0


def test_probe_then_finetune_with_blocks(tmp_path):
    """SE pre-training and fine-tuning in one run: blocks first, then everything."""
    schedule = dict(type='ProbeThenFinetune', probe=1)
    model = rig.detector(backbone=rig.with_blocks(rig.resnet(), 'SEBlock', reduction=4))
    hooks = [dict(type='FreezingSchedulerHook', schedule=schedule)]
    record = rig.train(tmp_path, hooks=hooks, model=model, epochs=2)
    assert_blocks_alone_move(*record.states[:2])
    moved, still, original = split(*record.states[1:3])
    assert moved and not still
    assert {f'layer{i}' for i in (1, 2, 3, 4)} <= {n.split('.')[1] for n in original}
    # Blocks train in every phase; the log counts the stages that the schedule rules over.
    (path,) = tmp_path.rglob('vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row['freezing/trainable_stages'] for row in rows] == [0] * 4 + [5] * 4
    assert 0 < rows[0]['freezing/trainable_ratio'] < rows[-1]['freezing/trainable_ratio']


def test_freeze_blocks_freezes_them_too(tmp_path):
    model = rig.detector(backbone=rig.with_blocks(rig.resnet(), **BN))
    record = rig.train(tmp_path, hooks=[dict(FROZEN, freeze_blocks=True)], model=model, epochs=1)
    assert not rig.equal(record.states[0], record.states[-1], 'backbone.')
    assert all('backbone.blocks.stage1.norm' in sleeps for sleeps in record.in_eval)


def test_average_of_the_weights_holds_its_own_blocks(tmp_path):
    model = rig.detector(backbone=rig.with_blocks(rig.resnet(), **SE))
    ema = dict(type='EMAHook', momentum=0.5)
    built = rig.runner(tmp_path, hooks=[FROZEN, ema], model=model, epochs=1, validate=True)
    built.train()
    copied = next(h for h in built.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    live = built.model
    x = torch.randn(1, 3, 64, 64)
    for module, other in ((live, copied), (copied, live)):
        module.eval(), other.eval()
        before = [o.clone() for o in module.backbone(x)]
        nn.init.ones_(other.backbone.blocks.stage1.fc2.bias)
        assert all(torch.equal(a, b) for a, b in zip(before, module.backbone(x)))


def test_two_ranks_stay_equal(tmp_path):
    """The wrapper is rebuilt at the change of phase and reduces the blocks in both."""
    model = rig.detector(backbone=rig.with_blocks(rig.resnet(), **SE))
    both = rig.run(
        2,
        work_dir=str(tmp_path),
        hooks=[rig.dbf(2), dict(type='CommunicatedBytes')],
        model=model,
        epochs=2,
        shuffle=True,
    )
    differ = rig.equal(both[0]['states'][-1], both[1]['states'][-1])
    assert all('running_' in n for n in differ)  # statistics are a rank's own in the first epoch
    assert_blocks_alone_move(*both[0]['states'][1:3])
    sizes = {n: rig.nbytes(v) for n, v in both[0]['states'][-1].items()}
    for trains, sent in zip(both[0]['trains'], both[0]['bytes']):
        assert sent == sum(sizes[n] for n in trains)
    assert len(set(both[0]['bytes'])) == 2


# -- gradients ------------------------------------------------------------------------------------


def gradients(module, images, frozen):
    """Gradients of the blocks, with the rest frozen or not, in the same modes."""
    module.eval()
    module.zero_grad()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith('blocks.') or not frozen)
    sum(o.square().mean() for o in module(images)).backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if n.startswith('blocks.')}


@pytest.mark.parametrize('name', ['resnet', 'swin', 'convnext'])
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_flow_through_frozen_stages(name, with_cp):
    """Those of the first blocks are what they are with everything trainable."""
    rig.register_modules()
    config = getattr(rig, name)(with_cp=with_cp)
    if name == 'convnext':
        import mmpretrain.models  # noqa: F401
    torch.manual_seed(0)
    module = rig.build(rig.with_blocks(config, hidden_channels=4))
    for parameter in module.blocks.parameters():
        nn.init.normal_(parameter, std=0.1)
    images = torch.randn(2, 3, 64, 64)
    frozen, free = (gradients(module, images, frozen) for frozen in (True, False))
    assert all(g.abs().max() > 0 for g in frozen.values())
    assert all(torch.allclose(frozen[n], free[n], rtol=1e-4, atol=1e-7) for n in free)


def test_gradient_equals_a_difference_quotient():
    """Of the first block, through three frozen stages and their norm layers, in float64."""
    torch.manual_seed(0)
    module = rig.build(rig.with_blocks(rig.resnet(out_indices=(3,)), **SE)).double().eval()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith('blocks.'))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    weight = module.blocks.stage1.fc2.weight
    weights = torch.randn_like(module(images)[0])
    loss = lambda: (module(images)[0] * weights).sum()  # noqa: E731
    loss().backward()
    direction, eps = torch.randn_like(weight), 1e-6
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight += sign * eps * direction
            ends.append(loss().item())
            weight -= sign * eps * direction
    quotient = (ends[0] - ends[1]) / (2 * eps)
    assert (weight.grad * direction).sum().item() == pytest.approx(quotient, rel=1e-5)
