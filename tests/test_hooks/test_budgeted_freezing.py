"""Runs that decide before every epoch what trains, for a share of the full cost."""

import json
import math

import pytest
import rig
import torch

from mmbackbone_plugins import relative_gradient_norm
from mmbackbone_plugins.hooks.freezing_scheduler_hook import FreezingSchedulerHook
from mmbackbone_plugins.utils.sampling import SeededBatches

pytestmark = pytest.mark.newer_torch


def budgeted(budget=0.8, **options):
    schedule = dict(type='BudgetedFreezing', budget=budget, num_batches=1, **options)
    return dict(type='FreezingSchedulerHook', schedule=schedule)


def lines(folder):
    (path,) = folder.glob('*/decisions.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(folder, hook, watch=True, **options):
    hooks = [hook, dict(type='TrainingCostHook')] if watch else [hook]
    built = rig.runner(folder, hooks=hooks, **dict(dict(epochs=4, length=16), **options))
    built.train()
    return built


def decisions(built):
    (hook,) = (h for h in built.hooks if isinstance(h, FreezingSchedulerHook))
    return hook.decisions


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    return folder, train(folder, budgeted())


def test_killed_in_an_epoch_and_resumed_it_decides_alike(whole, tmp_path):
    options = dict(work_dir=str(tmp_path), epochs=4, length=16)
    hooks = [budgeted(), dict(type='TrainingCostHook')]
    rig.run(returncode=-9, kill_at=20, hooks=hooks, **options)
    assert len(lines(tmp_path)) == 3  # the third epoch was decided, and is in no checkpoint
    rest = train(tmp_path, budgeted(), resume=True)
    assert lines(tmp_path) == lines(whole[0])
    assert not rig.equal(rig.model_of(rest).state_dict(), rig.model_of(whole[1]).state_dict())
    ours, theirs = (json.loads((f / 'cost.json').read_text()) for f in (tmp_path, whole[0]))
    assert ours['totals']['training_flops'] == theirs['totals']['training_flops']


def test_the_ledger_agrees(whole):
    folder, built = whole
    budget, spent = decisions(built).budget, lines(folder)[-1]['spent']
    assert spent <= budget.ceiling <= 0.8 * 4 * budget.costs[-1]
    cost = json.loads((folder / 'cost.json').read_text())
    assert math.isclose(cost['totals']['training_flops'], spent, rel_tol=0.01)
    assert math.isclose(cost['measuring_flops'], 3 * budget.measuring, rel_tol=0.01)
    assert math.isclose(cost['totals']['full_training_flops'], 4 * budget.costs[-1], rel_tol=0.01)


class Plain(rig.ThreeLayers):
    def loss(self, inputs, data_samples):
        return self(inputs, data_samples)


rig.MODELS.register_module(module=Plain, force=True)
ASPECT = dict(type='mmdet.AspectRatioBatchSampler')


@pytest.mark.parametrize('model', (dict(type='Plain'), None), ids=('three layers', 'detector'))
def test_the_ledger_has_the_passes_that_were_made(model, tmp_path):
    """Batches of a sampler's, the last one smaller, and what the model keeps frozen by itself."""
    length = 9 if model is None else 8  # of batches of no shape all are taken to be alike
    options = dict(length=length, batch=2, hooks=[budgeted(0.9), dict(type='TrainingCostHook')])
    model = model or rig.detector(backbone=rig.resnet(frozen_stages=1))
    built = rig.runner(tmp_path, model=model, epochs=3, **options)
    if 'backbone' in model:
        loader = dict(built.cfg.train_dataloader, batch_sampler=ASPECT)
        built = rig.runner(tmp_path, model=model, epochs=3, train_dataloader=loader, **options)
    built.train()
    budget, found = decisions(built).budget, lines(tmp_path)
    cost = json.loads((tmp_path / 'cost.json').read_text())
    assert math.isclose(cost['measuring_flops'], 2 * budget.measuring, rel_tol=0.01)
    assert math.isclose(cost['totals']['training_flops'], found[-1]['spent'], rel_tol=0.01)
    steps = sum(phase['flops'] for phase in cost['phases'].values())
    assert cost['totals']['training_flops'] == steps + cost['measuring_flops']
    if 'backbone' in model:
        assert all(math.isnan(line['signal']['stem']) for line in found[1:])


def test_what_trains_is_what_was_decided(whole):
    folder, built = whole
    stage_map = decisions(built)._plan.stage_map
    for line, trains in zip(lines(folder), rig.recorder(built).trains[::8]):
        inside = {n for stage in line['trains'] for n in stage_map[stage].parameters}
        assert {n for n in trains if n.startswith('backbone.')} == inside
        assert line['affordable'][len(line['affordable']) - len(line['trains']) :] == line['trains']
    assert lines(folder)[0]['signal'] is None


def test_drift_is_that_of_the_weights(tmp_path):
    built = train(tmp_path, budgeted(signal='drift', sign=-1), watch=False)
    start, end = (rig.recorder(built).states[i] for i in (0, 3))
    names = decisions(built)._plan.stage_map['stage4'].parameters
    moved, size = (
        torch.cat([t.flatten() for t in part]).double().norm()
        for part in ([end[n] - start[n] for n in names], [start[n] for n in names])
    )
    assert math.isclose(lines(tmp_path)[3]['signal']['stage4'], moved / size, rel_tol=1e-6)


def test_rgn_is_the_mean_over_a_stage_without_its_norms(whole):
    built = whole[1]
    model = rig.model_of(built)
    signal = decisions(built)._signal(built)
    loader = built.train_dataloader
    (batch,) = SeededBatches(loader, model, num_batches=1, seed=built.epoch)
    model.train()
    model.backbone.requires_grad_(True)
    model.zero_grad()
    losses = model.loss(batch['inputs'], batch['data_samples'])
    sum(v.mean() if torch.is_tensor(v) else sum(v).mean() for v in losses.values()).backward()
    found = relative_gradient_norm(model.named_parameters())
    convs = [n for n in found if n.startswith('backbone.layer2.') and ('conv' in n or 'e.0' in n)]
    assert len(convs) == 5
    by_hand = sum(found[n] for n in convs) / len(convs)
    assert math.isclose(signal['stage2'], by_hand, rel_tol=1e-4)


@pytest.mark.slow
def test_two_ranks_and_four_that_resume_decide_alike(tmp_path):
    hook = budgeted()
    rig.run(2, work_dir=str(tmp_path), hooks=[hook], epochs=2, length=16, batch=1)
    first = lines(tmp_path)
    rig.run(4, work_dir=str(tmp_path), hooks=[hook], epochs=4, length=16, batch=1, resume=True)
    then = lines(tmp_path)
    assert then[:2] == first and len(then) == 4 and then[-1]['spent'] <= then[-1]['ceiling']


def test_bad_budgets_and_checkpoints(tmp_path):
    with pytest.raises(ValueError, match=r'budget=0\.1: a run of 4 .*allowed is 0\.\d+ to 1'):
        train(tmp_path / 'a', budgeted(0.1), watch=False)
    train(tmp_path / 'b', rig.dbf(2), epochs=1, watch=False)
    with pytest.raises(ValueError, match='written without BudgetedFreezing'):
        train(tmp_path / 'b', budgeted(), watch=False, resume=True)
