"""The projection in real runs; its mathematics is in tests/test_distortion/test_projection.py."""

import json
from pathlib import Path

import plain
import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmbackbone_plugins import WeightProjectionHook
from mmbackbone_plugins.distortion.projection import projection_kinds

ADAM = dict(type='Adam', lr=0.02)
BOTH = pytest.mark.parametrize('kind', ('spd', 'ftp'))


def hook(kind='spd', **options):
    return dict(type='WeightProjectionHook', kind=kind, interval=1, **options)


def train(folder, kind, **options):
    options = dict(dict(model=plain.FIXED, optimizer=ADAM, epochs=3), **options)
    return rig.train(folder, [*options.pop('before', []), hook(kind)], **options)


def by_hand(states, windows, kind, clip=None, frozen=()):
    """The same steps: gradients of a plain loop, torch's Adam, the rule called by hand."""
    start = states
    net = rig.build(plain.FIXED)
    net.load_state_dict(start)
    named = dict(net.named_parameters())
    inside = {n: p for n, p in named.items() if n.startswith('backbone.')}
    rule = projection_kinds()[kind](inside, {n: start[n].clone() for n in inside}, 1.0)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.02)
    for step, batches in enumerate(windows):
        found = plain.gradients(net.state_dict(), batches)
        for n, p in named.items():
            held = n not in found or (step in frozen and n in inside)
            p.grad = None if held else found[n].to(p.dtype)
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        rule.before()
        optimizer.step()
        rule.after()
    return {n: p.detach() for n, p in named.items()}


FOUR = [[0, 1], [2, 3], [4, 5], [6, 7]]


@BOTH
def test_accumulated_clipped_and_frozen_in_between(kind, tmp_path):
    """Windows of two batches; the schedule freezes the backbone in the second epoch."""
    record = train(
        tmp_path,
        kind,
        before=[rig.dbf(2)],
        wrapper=dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0)),
    )
    windows = [FOUR[:2], FOUR[2:]] * 3
    wanted = by_hand(record.states[0], windows, kind, clip=1.0, frozen=(2, 3))
    for name, tensor in wanted.items():
        ours = record.per_iter[-1][name]
        torch.testing.assert_close(ours, tensor, rtol=1e-3, atol=2e-4, msg=name)
    assert not rig.equal(record.states[1], record.states[2], 'backbone.')  # bit for bit
    free = rig.train(tmp_path / 'free', model=plain.FIXED, optimizer=ADAM, epochs=1)
    moved = [
        torch.dist(s[1]['backbone.layer4.0.conv1.weight'], s[0]['backbone.layer4.0.conv1.weight'])
        for s in (free.states, record.states)
    ]
    assert moved[1] < 0.98 * moved[0]


@HOOKS.register_module()
class Overflow(Hook):
    """Makes the gradients of one step infinite: a loss scaler skips it."""

    priority = 'LOW'

    def before_train(self, runner):
        bias = rig.model_of(runner).bbox_head.retina_reg.bias
        bias.register_hook(lambda g: g * float('inf') if runner.iter == 2 else g)


@pytest.mark.usefixtures('plain_convolutions')
@pytest.mark.parametrize('fused', (False, True), ids=('plain', 'fused'))
@BOTH
def test_a_skipped_step_projects_nothing(kind, fused, tmp_path):
    wrapper = dict(type='CpuAmpOptimWrapper', loss_scale=dict(init_scale=8.0))
    options = dict(before=[dict(type='Overflow')], wrapper=wrapper, epochs=1)
    record = train(tmp_path, kind, optimizer=dict(ADAM, lr=1e-3, fused=fused), **options)
    changed = [
        [n for n in rig.equal(a, b, 'backbone.') if n.endswith(('weight', 'bias'))]
        for a, b in zip(record.per_iter, record.per_iter[1:])
    ]
    assert changed[0] and not changed[1] and changed[2]


@BOTH
def test_ranks_stay_equal(kind, tmp_path):
    first, second = rig.run(2, work_dir=str(tmp_path), hooks=[hook(kind)], optimizer=ADAM, epochs=2)
    ends = [
        {n: t for n, t in r['states'][-1].items() if 'running' not in n} for r in (first, second)
    ]
    assert not rig.equal(*ends)


@pytest.mark.newer_torch
def test_theta0_is_one_copy_in_memory_and_one_in_the_checkpoint(tmp_path):
    budget = dict(type='BudgetedFreezing', budget=0.9, signal='drift')
    hooks = [
        hook(),
        dict(type='DistortionRegularizerHook', importance='uniform', coeff=0.0),
        dict(type='DriftHook', num_images=0),
        dict(type='FreezingSchedulerHook', schedule=budget),
    ]
    start: dict = {}
    for epochs in (1, 2):
        runner = rig.runner(tmp_path, hooks, epochs=epochs, resume=epochs == 2)
        runner.train()
        held = [getattr(h, 'decisions', h).anchor.tensors for h in runner.hooks if holds(h)]
        saved = torch.load(tmp_path / f'epoch_{epochs}.pth', weights_only=False)
        start = start or rig.recorder(runner).states[0]
        names = set().union(*held)
        assert len(held) == 4 and saved['mmbackbone_anchor'].keys() == names
        for name in names:
            assert len({t[name].data_ptr() for t in held if name in t}) == 1
            assert torch.equal(saved['mmbackbone_anchor'][name], start[name])


def holds(hook):
    kinds = ('WeightProjection', 'DistortionRegularizer', 'Drift', 'FreezingScheduler')
    return type(hook).__name__.startswith(kinds)


@BOTH
def test_scalars(kind, tmp_path):
    record = train(tmp_path, kind, model=rig.detector(), epochs=2)
    path = sorted(Path(tmp_path).rglob('vis_data/scalars.json'))[-1]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    start, end = record.states[0], record.states[-1]
    names = [n for n in start if n.startswith('backbone.') and n.endswith(('weight', 'bias'))]
    wanted = sum(float(((end[n] - start[n]).double() ** 2).sum()) for n in names) ** 0.5
    last = lines[-1]
    assert last['projection/distance'] == pytest.approx(wanted, rel=1e-4 if kind == 'spd' else 0.3)
    assert any(0 < line['projection/ratio'] <= 1 for line in lines)
    assert max(line['projection/tensors'] for line in lines) > 5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(kind='l2'), "kind must be one of 'spd', 'ftp', got 'l2'"),
        (dict(k=1.0), "k=1.0 is not of kind='spd', which takes coeff"),
        (dict(kind='ftp', coeff=1.0), "coeff=1.0 is not of kind='ftp', which takes k"),
        (dict(coeff=-1), 'coeff must be a finite number of at least 0, got -1'),
        (dict(kind='ftp', k=1.5), 'k must be a number from 0 to 1, got 1.5'),
        (dict(unloaded='keep'), "unloaded must be one of 'train', 'freeze', 'error'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        WeightProjectionHook(**options)


def test_conflicts(tmp_path):
    with pytest.raises(ValueError, match='two WeightProjectionHooks hold'):
        rig.train(tmp_path / 'two', hooks=[hook(), hook(target='backbone')])
    rig.train(tmp_path / 'kind', hooks=[hook('ftp')], epochs=1)
    with pytest.raises(ValueError, match="is of kind 'ftp', this run wants kind='spd'"):
        rig.train(tmp_path / 'kind', hooks=[hook('spd')], epochs=2, resume=True)
