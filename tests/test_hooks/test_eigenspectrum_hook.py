"""EigenspectrumHook in real runs: the right numbers, the same for any ranks, and no trace."""

import json
from pathlib import Path

import numpy as np
import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmbackbone_plugins.spectra import collect_moments, load_spectra, summarize
from mmbackbone_plugins.utils.sampling import SeededBatches

STAGES = [f'backbone.stage{i}' for i in range(1, 5)]
LEVELS = [f'neck.out{i}' for i in range(5)]


def eigen(**options):
    return dict(type='EigenspectrumHook', **dict(dict(num_batches=3, split='train'), **options))


def lines(folder):
    (path,) = Path(folder).rglob('eigen.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def spectra(folder, name):
    (path,) = Path(folder).rglob(f'eigenspectrum/{name}')
    return load_spectra(path)


@HOOKS.register_module(force=True)
class DrawsNumbers(Hook):
    """Training that depends on every source of random numbers."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        import random

        factor = 1 + 1e-3 * (random.random() + np.random.rand() + torch.rand(()).item())
        with torch.no_grad():
            for p in rig.model_of(runner).parameters():
                p.mul_(factor)


def test_what_it_writes_is_what_the_checkpoints_hold(tmp_path):
    run = rig.runner(tmp_path, hooks=[eigen(), rig.dbf(2)], epochs=2)
    run.train()
    found = lines(tmp_path)
    assert [(line['epoch'], line['iter']) for line in found] == [(0, 0), (1, 4), (2, 8)]
    record = rig.recorder(run)
    model = rig.build(rig.detector())
    for line, state in zip(found, record.states):
        model.load_state_dict(state)
        batches = SeededBatches(run.train_dataloader, model, num_batches=3)
        moments = collect_moments(model, batches, ['backbone', 'neck'])
        held = spectra(tmp_path, f'epoch_{line["epoch"]}.npz')
        assert held.info['epoch'] == line['epoch'] and held.info['images'] == 6
        assert list(line['layers']) == list(held.layers) == STAGES + LEVELS
        for name, moment in moments.items():
            wanted = summarize(moment)
            np.testing.assert_allclose(
                held.layers[name].eigenvalues, wanted.eigenvalues, atol=1e-9, rtol=1e-5
            )
            assert line['layers'][name]['dim'] == wanted.summary.dim
    # Epoch 2 is frozen: the backbone spans the same.
    assert found[1]['layers'][STAGES[2]] == found[2]['layers'][STAGES[2]]
    assert found[0]['layers'][STAGES[2]] != found[1]['layers'][STAGES[2]]
    path = next(tmp_path.rglob('vis_data/scalars.json'))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, line in ((rows[0], found[0]), (rows[2], found[0]), (rows[3], found[1])):
        for name in STAGES + LEVELS:
            assert row[f'eigen/{name}/dim'] == line['layers'][name]['dim']


CASES = {
    'resnet': dict(shuffle=True),
    'swin-drop-path': dict(model=rig.detector(backbone=rig.swin()), optimizer=rig.ADAMW),
    'two-stage-validation': dict(
        model=rig.detector('oriented-rcnn'), validate=True, epochs=1, ours=dict(split='val')
    ),
    'iteration-loop-convolutions': dict(iters=6, ours=dict(convolutions=True)),
    'foreground-dbf': dict(hooks=[rig.dbf(2)], ours=dict(foreground='foreground')),
}


@pytest.mark.parametrize('name', CASES)
def test_training_is_equal_bit_for_bit(name, tmp_path):
    options = dict(dict(epochs=2), **CASES[name])
    hooks = [dict(type='DrawsNumbers'), *options.pop('hooks', [])]
    hook = eigen(**options.pop('ours', {}))
    ours = rig.train(tmp_path / 'with', hooks=[*hooks, hook], **options)
    theirs = rig.train(tmp_path / 'without', hooks=hooks, **options)
    assert ours.losses == theirs.losses
    assert not rig.equal(ours.states[-1], theirs.states[-1])
    assert ours.in_eval == theirs.in_eval and ours.trains == theirs.trains
    assert len(lines(tmp_path / 'with')) == 1 + options['epochs']


def test_a_resumed_run_goes_on_in_the_same_files(tmp_path):
    hooks = [eigen(), dict(type='Reseed')]
    rig.train(tmp_path / 'whole', hooks=hooks, epochs=3)
    part = tmp_path / 'part'
    rig.train(part, hooks=hooks, epochs=2)
    (part / 'last_checkpoint').write_text(str(part / 'epoch_1.pth'))  # epoch 2 is done again
    rig.train(part, hooks=hooks, epochs=3, resume=True)
    assert lines(part) == lines(tmp_path / 'whole')
    names = sorted(p.name for p in part.rglob('eigenspectrum/*'))
    assert names == [f'epoch_{i}.npz' for i in (0, 1, 2)] + [
        'epoch_2.npz.superseded',
        'epoch_3.npz',
    ]
    for i in range(4):
        ours, theirs = (spectra(f, f'epoch_{i}.npz') for f in (part, tmp_path / 'whole'))
        for name, spectrum in theirs.layers.items():
            np.testing.assert_array_equal(ours.layers[name].eigenvalues, spectrum.eigenvalues)


@pytest.mark.slow
def test_two_ranks_are_one_process(tmp_path):
    """The start of training has no statistics yet, so both set-ups measure the same network."""
    rig.run(work_dir=str(tmp_path / 'one'), hooks=[eigen()], epochs=1, length=4)
    rig.run(2, work_dir=str(tmp_path / 'two'), hooks=[eigen()], epochs=1, length=4)
    one, two = (spectra(tmp_path / f, 'epoch_0.npz') for f in ('one', 'two'))
    assert one.info['images'] == two.info['images'] == 4
    for name, spectrum in one.layers.items():
        other = two.layers[name]
        assert other.summary.samples == spectrum.summary.samples
        largest = spectrum.eigenvalues[0]
        np.testing.assert_allclose(other.eigenvalues, spectrum.eigenvalues, atol=1e-13 * largest)
    assert [line['epoch'] for line in lines(tmp_path / 'two')] == [0, 1]


def test_convolutions_are_in_the_files_and_not_in_the_log(tmp_path):
    rig.train(tmp_path, hooks=[eigen(layers='backbone', convolutions=True, interval=2)], epochs=1)
    found = lines(tmp_path)
    assert [line['epoch'] for line in found] == [0, 1]  # the last epoch is always measured
    names = set(found[0]['layers'])
    assert {'backbone.conv1', 'backbone.layer1.0.relu#2', *STAGES} < names
    assert any(n.startswith('neck.fpn_convs') for n in names)
    path = next(tmp_path.rglob('vis_data/scalars.json'))
    row = json.loads(path.read_text().splitlines()[0])
    assert {k for k in row if k.startswith('eigen/')} == {f'eigen/{n}/dim' for n in STAGES}


def test_an_iteration_loop_has_files_by_iteration(tmp_path):
    rig.train(tmp_path, hooks=[eigen(layers='neck')], iters=10, batch=1, length=8)
    assert [line['iter'] for line in lines(tmp_path)] == [0, 8, 10]
    names = sorted(p.name for p in tmp_path.rglob('eigenspectrum/*'))
    assert names == ['iter_0.npz', 'iter_10.npz', 'iter_8.npz']


def test_few_images_are_warned_of_once(tmp_path):
    run = rig.runner(tmp_path, hooks=[eigen(num_batches=1)], epochs=2)
    run.train()
    (log,) = tmp_path.rglob('*.log')
    warned = [line for line in log.read_text().splitlines() if 'fewer positions than ch' in line]
    assert len(warned) == 1 and 'backbone.stage4 (8 positions, 128 channels)' in warned[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(layers=['bakbone.layer1']), "no module 'bakbone.layer1'; nearest: backbone.layer1"),
        (dict(split='val'), "split='val', but the run has no validation data"),
        (dict(layers='bbox_head.loss_cls'), "'bbox_head.loss_cls' is not called"),
    ],
)
def test_what_cannot_be_measured_stops_before_training(options, message, tmp_path):
    run = rig.runner(tmp_path, hooks=[eigen(**options)], epochs=1)
    with pytest.raises(ValueError, match=message):
        run.train()
    assert not rig.recorder(run).losses
    assert not any(m._forward_hooks for m in rig.model_of(run).modules())


@HOOKS.register_module(force=True)
class BreaksALayer(Hook):
    priority = 'VERY_HIGH'

    def before_train(self, runner):
        with torch.no_grad():
            runner.model.backbone.layer3[0].conv1.weight[0] = float('nan')


def test_nan_features_are_named(tmp_path):
    run = rig.runner(tmp_path, hooks=[eigen(), dict(type='BreaksALayer')], epochs=1)
    with pytest.raises(ValueError, match=r"'backbone.stage3' yields NaN or Inf for image 0 \("):
        run.train()
