"""Learning rates by RGN: factors in closed form, and runs against a plain loop."""

import json
from pathlib import Path

import plain
import pytest
import rig
import torch

from mmbackbone_plugins import RGNLearningRateHook, StageMap
from mmbackbone_plugins.distortion.learning_rates import rate_factors

BOTH = pytest.mark.parametrize('sign', (1, -1))
BY = pytest.mark.parametrize('by', ('stage', 'tensor'))
STAGES = dict(constructor='StageOptimWrapperConstructor')
TENSORS = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}))


def hook(**options):
    return dict(type='RGNLearningRateHook', **dict(dict(num_batches=2), **options))


def lines(folder, name):
    path = sorted(Path(folder).rglob(name))[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


def wanted_factors(state, epoch, sign, by, floor=0.0):
    """From gradients of a plain loop, in float64, on the images that the seed chooses."""
    chosen = torch.Generator().manual_seed(100_003 * epoch)
    order = torch.randperm(8, generator=chosen).tolist()
    found = [plain.gradients(state, [batch]) for batch in (order[:2], order[2:4])]
    tensors = {}
    for name in found[0]:
        if name.startswith('backbone.') and 'bn' not in name and 'downsample.1' not in name:
            w = float(state[name].double().norm())
            tensors[name] = sum(float(f[name].norm()) / w for f in found) / 2
    stages = {s.name: s.parameters for s in StageMap.of(rig.build(plain.FIXED))}
    units = {n: {n: v} for n, v in tensors.items()}
    if by == 'stage':
        units = {s: {n: tensors[n] for n in inside if n in tensors} for s, inside in stages.items()}
    w = {unit: sum(v.values()) / len(v) for unit, v in units.items()}
    edge = max(w.values()) if sign > 0 else min(w.values())
    factors = {u: max(v / edge if sign > 0 else edge / v, floor) for u, v in w.items()}
    if by == 'stage':
        return {n: factors[s] for s, inside in stages.items() for n in inside}
    return factors


@BOTH
@BY
def test_steps_are_those_of_a_plain_loop(by, sign, tmp_path):
    """Two epochs, measured anew, under a scheduler that halves the base rate in between."""
    decay = dict(type='MultiStepLR', milestones=[1], gamma=0.5)
    record = rig.train(
        tmp_path,
        hooks=[hook(sign=sign, by=by, floor=0.05)],
        model=plain.FIXED,
        optimizer=plain.SGD,
        wrapper=STAGES if by == 'stage' else TENSORS,
        param_scheduler=[decay],
        epochs=2,
    )
    state, four = record.states[0], [[0, 1], [2, 3], [4, 5], [6, 7]]
    for epoch in range(2):
        factors = wanted_factors(state, epoch, sign, by, 0.05)
        assert len(set(factors.values())) > 3 and min(factors.values()) < 0.5
        rates = {n: plain.SGD['lr'] / (1 + epoch) * factors.get(n, 1.0) for n in state}
        windows = [[b] for b in four]
        state = plain.train(state, windows, state, None, 0.0, lr=rates.__getitem__)[-1]
        for name, tensor in state.items():
            ours = record.states[epoch + 1][name]
            torch.testing.assert_close(ours, tensor, rtol=1e-3, atol=1e-5, msg=name)
        kept = torch.load(tmp_path / f'epoch_{epoch + 1}.pth', weights_only=False)
        after = plain.SGD['lr'] / 2
        assert {g['lr'] for g in kept['optimizer']['param_groups']} == {after}
    written = lines(tmp_path, 'rgn_lr.jsonl')
    assert [line['iter'] for line in written] == [1, 5]
    logged = lines(tmp_path, 'scalars.json')
    assert logged[0]['lr'] == plain.SGD['lr'] and 0 < logged[0]['rgn_lr/stage2'] <= 1


@BOTH
def test_factors(sign):
    rgn = dict(a=0.5, b=2.0, c=0.0)
    got = rate_factors(rgn, sign, 0.3)
    assert got == (dict(a=0.3, b=1.0, c=0.3) if sign > 0 else dict(a=1.0, b=0.3, c=1.0))
    assert rate_factors(dict(a=0.0), sign) == dict(a=1.0)


def test_frozen_stages_have_no_factor_and_a_resumed_run_goes_on(tmp_path):
    """Stages are added one by one between two measurements; killed and resumed in between."""
    unfreeze = dict(type='GradualUnfreezing', start=1, every=2)
    hooks = [hook(interval=3), dict(type='FreezingSchedulerHook', schedule=unfreeze)]
    options = dict(hooks=hooks, wrapper=STAGES, epochs=5)
    whole = rig.train(tmp_path / 'whole', **options)
    written = lines(tmp_path / 'whole', 'rgn_lr.jsonl')
    four, three = ['stage4'], ['stage3', 'stage4']
    assert [(line['epoch'], list(line['factors'])) for line in written] == [
        (2, four), (4, three)
    ]  # fmt: skip
    part = tmp_path / 'part'
    rig.run(returncode=-9, work_dir=str(part), kill_at=14, **options)
    assert [line['epoch'] for line in lines(part, 'rgn_lr.jsonl')] == [2, 4]
    resumed = rig.run(work_dir=str(part), resume=True, **options)[0]
    assert not rig.equal(resumed['states'][-1], whole.states[-1])
    assert lines(part, 'rgn_lr.jsonl') == written


@pytest.mark.parametrize('amp', (False, True), ids=('plain', 'amp'))
def test_two_ranks_have_one_factor(amp, tmp_path):
    wrapper = dict(STAGES, **(dict(type='CpuAmpOptimWrapper') if amp else {}))
    first, second = rig.run(
        2, work_dir=str(tmp_path), hooks=[hook(num_batches=3)], wrapper=wrapper, epochs=1
    )
    ends = [
        {n: t for n, t in r['states'][-1].items() if 'running' not in n} for r in (first, second)
    ]
    assert not rig.equal(*ends)


def test_measuring_leaves_no_trace(tmp_path):
    """With a floor of 1 every factor is 1, and the run is the one without the hook."""
    ours = rig.train(tmp_path / 'a', hooks=[hook(floor=1)], wrapper=STAGES, model=rig.detector())
    theirs = rig.train(tmp_path / 'b', wrapper=STAGES, model=rig.detector())
    assert ours.losses == theirs.losses and not rig.equal(ours.states[-1], theirs.states[-1])


def test_groups_are_stages_and_keep_their_settings(tmp_path):
    settings = dict(norm_decay_mult=0.0, custom_keys={'layer2': dict(lr_mult=0.1)})
    built = rig.runner(tmp_path, wrapper=dict(STAGES, paramwise_cfg=settings))
    model, optimizer = built.model, built.build_optim_wrapper(built.optim_wrapper).optimizer
    names = {id(p): n for n, p in model.named_parameters()}
    assert sum(len(g['params']) for g in optimizer.param_groups) == len(names)
    stage_map = StageMap.of(model)
    for group in optimizer.param_groups:
        inside = [names[id(p)] for p in group['params']]
        assert len({stage_map.stage_of(n) if 'backbone' in n else '' for n in inside}) == 1
        layer2 = {'layer2' in n for n in inside}
        assert layer2 == {group['lr'] == pytest.approx(0.001)}
    assert len(optimizer.param_groups) == 2 * 4 + 1 + 1  # weights and norms, layer2, the rest


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(sign=0), r'sign must be \+1 or -1, got 0'),
        (dict(by='layer'), "by must be one of 'stage', 'tensor', got 'layer'"),
        (dict(floor=1.2), 'floor must be a number from 0 to 1, got 1.2'),
        (dict(num_batches=0), 'num_batches must be'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        RGNLearningRateHook(**options)


@pytest.mark.parametrize('by', ('stage', 'tensor'))
def test_a_group_of_several_factors_is_refused(by, tmp_path):
    wrapper = {} if by == 'stage' else STAGES
    with pytest.raises(ValueError, match='of the optimizer holds parameters of') as caught:
        rig.train(tmp_path, hooks=[hook(by=by)], wrapper=wrapper)
    assert "custom_keys={'backbone': {'lr_mult': 1.0}}" in str(caught.value)
    assert ('StageOptimWrapperConstructor' in str(caught.value)) == (by == 'stage')


def test_two_owners_of_the_rate_are_refused(tmp_path):
    with pytest.raises(ValueError, match='two RGNLearningRateHooks'):
        rig.train(tmp_path, hooks=[hook(), hook(sign=-1)], wrapper=STAGES)
