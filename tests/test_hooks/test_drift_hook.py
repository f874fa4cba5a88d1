"""DriftHook in real runs: measured from the first start's weights, and without a trace."""

import json
from pathlib import Path

import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

STAGES = dict(stem='conv1 bn1', stage1='layer1', stage2='layer2', stage3='layer3', stage4='layer4')


def drift(**options):
    return dict(type='DriftHook', **dict(dict(num_images=2), **options))


def lines(folder):
    (path,) = Path(folder).rglob('drift.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def naive(start, now, stage):
    names = tuple(f'backbone.{m}.' for m in STAGES[stage].split())
    inside = [k for k in start if k.startswith(names) and k.endswith(('weight', 'bias'))]
    a, b = (torch.cat([s[k].double().flatten() for k in inside]) for s in (now, start))
    return ((a - b).norm() / b.norm()).item()


def test_weights_statistics_and_features(tmp_path):
    record = rig.train(tmp_path, hooks=[drift(), rig.dbf(2)], epochs=3)
    found = lines(tmp_path)
    assert [line['epoch'] for line in found] == [1, 2, 3]
    assert [line['iter'] for line in found] == [4, 8, 12]
    for line, now in zip(found, record.states[1:]):
        for stage in STAGES:
            expected = naive(record.states[0], now, stage)
            assert line['stages'][stage] == pytest.approx(expected, rel=1e-4)
        assert set(line['cka']) == {'stage1', 'stage2', 'stage3', 'stage4'}
        assert all(0 < v < 1 for v in line['cka'].values())
        assert line['norm_mean'] > 0 and line['norm_statistics']['stage2']['std'] > 0
    # Epoch 2 is frozen: nothing has moved in it, features included (norm layers are in eval).
    same = ('stages', 'network', 'norm_statistics', 'norm_mean', 'norm_std', 'cka', 'anchor')
    assert {k: found[0][k] for k in same} == {k: found[1][k] for k in same}
    assert found[2]['network'] > found[1]['network']
    path = next(tmp_path.rglob('vis_data/scalars.json'))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, line in ((rows[3], found[0]), (rows[11], found[2])):  # last rows of epochs
        assert row['drift/stage3'] == line['stages']['stage3']
        assert (
            row['drift/network'] == line['network'] and row['cka/stage4'] == line['cka']['stage4']
        )
    assert 'drift/network' not in rows[2]


def test_added_blocks_do_not_count_as_drift_of_the_backbone(tmp_path):
    blocks = rig.detector('retinanet', rig.with_blocks(rig.resnet()))
    frozen = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    rig.train(tmp_path, model=blocks, hooks=[drift(), frozen], epochs=1)
    (line,) = lines(tmp_path)
    assert line['network'] == 0 and line['stages']['stage1.block'] > 0


@HOOKS.register_module(force=True)
class DrawNumbers(Hook):
    """Training that depends on every source of random numbers."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        import random

        import numpy as np

        factor = 1 + 1e-3 * (random.random() + np.random.rand() + torch.rand(()).item())
        with torch.no_grad():
            for p in rig.model_of(runner).parameters():
                p.mul_(factor)


CASES = {
    'resnet': dict(shuffle=True),
    'swin-drop-path': dict(model=rig.detector(backbone=rig.swin()), optimizer=rig.ADAMW),
    'iteration-loop': dict(iters=8),
    'ema': dict(hooks=[dict(type='EMAHook', momentum=0.2)], validate=True),
    'dbf': dict(hooks=[rig.dbf(2)]),
    'two-stage': dict(model=rig.detector('oriented-rcnn')),
}


@pytest.mark.parametrize('name', CASES)
def test_training_is_equal_bit_for_bit(name, tmp_path):
    options = dict(dict(epochs=2), **CASES[name])
    hooks = [dict(type='DrawNumbers'), *options.pop('hooks', [])]
    ours = rig.train(tmp_path / 'with', hooks=[*hooks, drift()], **options)
    theirs = rig.train(tmp_path / 'without', hooks=hooks, **options)
    assert ours.losses == theirs.losses
    assert not rig.equal(ours.states[-1], theirs.states[-1])
    assert ours.in_eval == theirs.in_eval and ours.trains == theirs.trains
    saved = [
        torch.load(next((tmp_path / f).glob('*_[28].pth')), weights_only=False)
        for f in ('with', 'without')
    ]
    # Outside the module tree: neither the model's weights nor an EMA copy know of it.
    for key in ('state_dict', 'ema_state_dict'):
        assert saved[0].get(key, {}).keys() == saved[1].get(key, {}).keys()
    assert 'mmbackbone_anchor' in saved[0] and 'mmbackbone_anchor' not in saved[1]


def test_load_from_is_a_fresh_start(tmp_path):
    rig.train(tmp_path / 'first', hooks=[drift()], epochs=2)
    record = rig.train(
        tmp_path / 'second',
        hooks=[drift()],
        epochs=1,
        load_from=str(tmp_path / 'first' / 'epoch_2.pth'),
    )
    found = lines(tmp_path / 'second')
    assert found[0]['anchor'] != lines(tmp_path / 'first')[0]['anchor']
    expected = naive(record.states[0], record.states[1], 'stage2')
    assert found[0]['stages']['stage2'] == pytest.approx(expected, rel=1e-4)


def test_resume_without_a_checkpoint_is_a_fresh_start(tmp_path):
    rig.train(tmp_path, hooks=[drift()], epochs=1, resume=True)
    assert len(lines(tmp_path)) == 1


def test_resuming_a_run_without_reference_weights_is_refused(tmp_path):
    rig.train(tmp_path, epochs=1)
    with pytest.raises(ValueError, match='DriftHook: the checkpoint to resume from has no refer'):
        rig.train(tmp_path, hooks=[drift()], epochs=2, resume=True)


@pytest.mark.parametrize('offload', [False, True])
def test_interval_and_the_last_epoch(offload, tmp_path):
    rig.train(tmp_path, hooks=[drift(interval=2, num_images=0, offload=offload)], epochs=3)
    found = lines(tmp_path)
    assert [line['epoch'] for line in found] == [2, 3] and found[0]['cka'] == {}


def test_an_iteration_loop_counts_passes_over_the_loader(tmp_path):
    rig.train(tmp_path, hooks=[drift()], iters=18, batch=1, length=8)
    assert [line['iter'] for line in lines(tmp_path)] == [8, 16, 18]


def test_another_target_has_no_features(tmp_path):
    rig.train(tmp_path, hooks=[drift(target=['backbone', 'neck'])], epochs=1)
    (line,) = lines(tmp_path)
    assert line['cka'] == {} and line['stages']['backbone.stage1'] > 0
    assert any(name.startswith('neck.') for name in line['stages'])


def test_features_that_cannot_be_compared_are_said_before_the_first_step(tmp_path, monkeypatch):
    def fail(*args):
        raise TypeError('a page\n' * 99)

    monkeypatch.setattr('mmbackbone_plugins.hooks.drift_hook.feature_similarity', fail)
    with pytest.raises(ValueError, match='num_images=0 leaves them out') as caught:
        rig.train(tmp_path, hooks=[drift()], epochs=1)
    assert '(TypeError: a page)' in str(caught.value) and not list(tmp_path.glob('*.pth'))


@pytest.mark.slow
def test_two_ranks_write_one_file(tmp_path):
    first, second = rig.run(2, work_dir=str(tmp_path), hooks=[drift(), rig.dbf(2)], epochs=2)
    assert not rig.equal(first['states'][-1], second['states'][-1], 'neck.')
    assert [line['epoch'] for line in lines(tmp_path)] == [1, 2]
