"""Each method of the zoo, through the tools: trains, resumes, tests; in either family of the stack.

The files are the zoo's own. Settings on the command line make them small enough for a CPU; a file
that inherits from them counts predictions in place of DOTAMetric, whose process pool takes 9 s.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Optional

import pytest
import rig
import stepping
import torch
import zoo

from mmbackbone_plugins import compat
from mmbackbone_plugins.lab.toy import make_toy_dataset

ROTATED = 'rotated-retinanet-rbox-le90_r50_fpn_{}1x_dota'
UPRIGHT = 'retinanet_r50_fpn_{}1x_dota-hbb'
WIDTHS = [24, 40, 72, 136]


@dataclass
class Case:
    """A config, what is set on top of it, and what it must do.

    Attributes:
        name: Of a config of the zoo.
        trains: Epochs of the three in which the backbone trains.
        hook: Settings of its custom hooks, by position and key.
        more: Other settings.
        scalar: Whose values must be in the log.
        files: Patterns of what the method writes.
        exact: Whether the resumed run is held against an uninterrupted one, bit for bit; both flip
            at random, and samplers of two-stage detectors draw their boxes.
    """

    name: str
    trains: str = '111'
    hook: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    scalar: Optional[str] = None
    files: tuple[str, ...] = ()
    exact: bool = False


PENALTY = dict(scalar='distortion/penalty')
CASES = {
    'full': Case('rotated-faster-rcnn-le90_r50_fpn_1x_dota'),
    'frozen': Case('faster-rcnn_r50_fpn_frozen-1x_dota-hbb', '000'),
    'dbf': Case(
        'oriented-rcnn-le90_r50_fpn_dbf-rho10-1x_dota',
        '101',
        {'0.schedule.rho': 2},
        scalar='freezing/trainable_stages',
        exact=True,
    ),
    'rgn-dbf': Case(
        ROTATED.format('rgn-dbf-rho10-'),
        '101',
        {'0.schedule.rho': 2, '1.interval': 1},
        scalar='rgn/mean',
        files=('rgn.jsonl', 'drift.jsonl'),
        exact=True,
    ),
    'l2sp': Case(UPRIGHT.format('l2sp-'), **PENALTY),
    'rgn-reg': Case(ROTATED.format('rgn-reg-'), files=('importance-*.pth',), **PENALTY),
    'ewc': Case(UPRIGHT.format('ewc-'), files=('importance-*.pth',), **PENALTY),
    'dp-ft-rgn-reg': Case(
        ROTATED.format('dp-ft-rgn-reg-'),
        '011',
        {'0.schedule.probe': 1},
        files=('importance-*.pth',),
        exact=True,
        **PENALTY,
    ),
    'dp-ft': Case(UPRIGHT.format('dp-ft-'), '011', {'0.schedule.probe': 1}, files=('probed.pth',)),
    'spd': Case(ROTATED.format('spd-'), scalar='projection/ratio', exact=True),
    'ftp': Case(ROTATED.format('ftp-'), scalar='projection/distance'),
    'auto-rgn': Case(
        ROTATED.format('auto-rgn-inverse-'),
        files=('rgn_lr.jsonl',),
        exact=True,
    ),
    'gradual': Case(ROTATED.format('gradual-'), '011', {'0.schedule.start': 1}),
    'budget': Case(
        ROTATED.format('budget-drift-'),
        hook={'0.schedule.budget': 1.0},
        files=('decisions.jsonl',),
        exact=True,
    ),
    'se': Case(ROTATED.format('se-dp-ft-'), '011', {'0.schedule.probe': 1}, exact=True),
    'adapter': Case(UPRIGHT.format('adapter-'), '000'),
    'eigen': Case(ROTATED.format('eigen-'), files=('eigen.jsonl',), exact=True),
    'cost': Case(
        ROTATED.format('dbf-rho10-'),
        '101',
        {'0.schedule.rho': 2},
        {'default_hooks.cost.type': 'TrainingCostHook', 'default_hooks.cost.interval': 1},
        files=('cost.json',),
    ),
    'combined': Case(
        'oriented-rcnn-le90_r50_fpn_combined-1x_dota',
        '011',
        {'0.schedule.probe': 1, '2.interval': 1, '4.num_batches': 2},
        files=('rgn.jsonl', 'drift.jsonl', 'eigen.jsonl', 'cost.json', 'importance-rgn-*.pth'),
        **PENALTY,
    ),
    'widths': Case(
        UPRIGHT.format(''),
        more={
            'model.backbone.type': 'WidthResNet',
            'model.backbone.stage_widths': WIDTHS,
            'model.neck.in_channels': WIDTHS,
        },
    ),
}


def test_every_method_of_the_zoo_is_here():
    methods = {zoo.part(n, 'method') for n in zoo.NAMES}
    folders = {zoo.folder_of(n) for n in zoo.NAMES}
    assert {zoo.folder_of(case.name) for case in CASES.values()} == folders
    assert None in methods and 'WidthResNet' in CASES['widths'].more.values()


def settings(case: Case, root, folder) -> dict[str, Any]:
    """What the command line sets: small, on a CPU, offline, repeatable."""
    cfg = zoo.load(case.name)
    options = stepping.small(cfg, root)
    options.pop('default_hooks.checkpoint')
    options['default_hooks.checkpoint.max_keep_ckpts'] = -1
    options['default_hooks.checkpoint.save_best'] = None
    options['log_level'] = 'INFO'
    # Loggers and visualizers go by name, and all runs of a test session are in one process.
    for key in ('experiment_name', 'visualizer.name'):
        options[key] = str(folder).replace('/', '_')
    backbone = 'model.backbone' + ('.backbone' if 'backbone' in cfg.model.backbone else '')
    options[f'{backbone}.base_channels'] = 8
    options['model.neck.in_channels'] = [32, 64, 128, 256]
    options['optim_wrapper.optimizer.lr'] = 0.01
    options.update({f'custom_hooks.{key}': value for key, value in case.hook.items()})
    options.update(case.more)
    return options


def words(options: dict[str, Any]) -> list[str]:
    return ['--cfg-options', *(f'{k}={v}'.replace(' ', '') for k, v in options.items())]


def tool(name: str, *arguments: Any) -> None:
    assert rig.call_tool(name, *arguments) == 0


@pytest.fixture
def counted(tmp_path):
    """A config file that inherits from one of the zoo and counts predictions."""

    def write(name: str):
        path = tmp_path / f'{name}.py'
        path.write_text(
            f'_base_ = {str(zoo.path_of(name))!r}\n'
            "custom_imports = dict(imports=['mmbackbone_plugins', 'rig'])\n"
            "val_evaluator = dict(_delete_=True, type='CountMetric')\n"
            "test_evaluator = dict(_delete_=True, type='CountMetric')\n"
        )
        return path

    return write


def weights(folder, epoch: int) -> dict[str, torch.Tensor]:
    path = folder / f'epoch_{epoch}.pth'
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def moved(before: dict, after: dict) -> set[str]:
    """Parts of the detector that changed; blocks in the backbone are a part of their own."""
    parts = set()
    for key, value in before.items():
        if not value.equal(after[key]):
            words = key.split('.')
            parts.add('blocks' if words[1] == 'blocks' else words[0])
    return parts


def rows(folder) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


@pytest.mark.parametrize('method', CASES)
def test_trains_resumes_and_tests(method, counted, toy_root, tmp_path):
    if method == 'budget' and compat.flop_counter() is None:
        pytest.skip(f'torch {torch.__version__} has no flop counter')
    case = CASES[method]
    config, folder = counted(case.name), tmp_path / 'run'
    options = words(settings(case, toy_root['dota'], folder))
    where = ['--work-dir', folder]

    tool('train', config, *where, *options, 'train_cfg.max_epochs=2')
    assert not (folder / 'epoch_3.pth').exists()
    tool('train', config, *where, '--resume', *options, 'train_cfg.max_epochs=3')
    states = [weights(folder, epoch) for epoch in (1, 2, 3)]
    for epoch in (1, 2):
        parts = moved(states[epoch - 1], states[epoch])
        assert ('backbone' in parts) == (case.trains[epoch] == '1')
        assert 'neck' in parts and any('head' in p for p in parts)
        assert ('blocks' in parts) == (method in ('se', 'adapter', 'combined'))

    steps = [row for row in rows(folder) if 'loss' in row]
    assert [row['epoch'] for row in steps] == [1, 2, 3]
    assert all(math.isfinite(row['loss']) for row in steps)
    if case.scalar:
        assert any(case.scalar in row for row in steps)
    if case.scalar == 'distortion/penalty':
        assert steps[0].get(case.scalar) == (0 if case.trains[0] == '1' else None)
        assert steps[-1][case.scalar] > 0
    for pattern in case.files:
        assert list(folder.rglob(pattern)), pattern

    if case.exact:
        whole = tmp_path / 'whole'
        tool('train', config, '--work-dir', whole, *options, 'train_cfg.max_epochs=3')
        assert rig.equal(weights(whole, 3), states[-1]) == []

    results = tmp_path / 'results'
    tool('test', config, folder / 'epoch_3.pth', '--work-dir', results, *options)
    (score,) = (json.loads(p.read_text()) for p in results.glob('*/*.json'))
    assert score['count'] == 1  # one picture


def test_resumed_in_the_middle_of_an_epoch(counted, tmp_path):
    """From what a run has written after four of its six steps, three an epoch."""
    make_toy_dataset(tmp_path / 'toy', counts=dict(train=5, val=1, test=1), size=128, density=24)
    case, (whole, resumed) = CASES['rgn-dbf'], (tmp_path / name for name in ('whole', 'resumed'))
    options = settings(case, tmp_path / 'toy', whole)
    options.update({'default_hooks.checkpoint.by_epoch': False, 'train_cfg.max_epochs': 2})
    options['default_hooks.checkpoint.interval'] = 4
    config = counted(case.name)
    tool('train', config, '--work-dir', whole, *words(options))
    middle = ['--resume', whole / 'iter_4.pth']
    tool('train', config, '--work-dir', resumed, *middle, *words(options))
    ends = [torch.load(f / 'iter_6.pth', weights_only=False) for f in (whole, resumed)]
    assert rig.equal(*(end['state_dict'] for end in ends)) == []


def test_cost_without_a_flop_counter_is_a_line_and_the_rest(
    counted, toy_root, tmp_path, monkeypatch
):
    """torch 2.0 has none: what the record then holds, in either family."""
    monkeypatch.setattr(compat, 'flop_counter', lambda: None)
    case, folder = CASES['cost'], tmp_path / 'run'
    options = words(settings(case, toy_root['dota'], folder))
    config = counted(case.name)
    tool('train', config, '--work-dir', folder, *options, 'train_cfg.max_epochs=1')
    record = json.loads((folder / 'cost.json').read_text())
    (phase,) = record['phases'].values()
    assert phase['steps'] == 1 and phase['step_seconds'] > 0 and phase['peak_memory'] > 0
    assert record['totals']['training_flops'] is None
    (log,) = folder.glob('*/*.log')
    (line,) = (t for t in log.read_text().splitlines() if 'no flop counter' in t)
    assert f'torch {torch.__version__}' in line and 'everything but FLOPs is recorded' in line


# -- in processes of their own, as users start them ----------------------------------------------


def shell(*arguments: Any, cwd) -> str:
    paths = f'{zoo.ROOT}{os.pathsep}{zoo.ROOT / "tests"}'
    environment = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='1')
    command = [sys.executable, *map(str, arguments)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    done = subprocess.run(command, cwd=cwd, env=environment, **pipes)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_zoos_own_evaluators(toy_root, tmp_path):
    """The zoo's file itself: validated and tested by DOTAMetric, in its process pool."""
    case, folder = CASES['dbf'], tmp_path / 'run'
    options = words(settings(case, toy_root['dota'], folder))
    config, tools = zoo.path_of(case.name), zoo.ROOT / 'tools'
    shell(
        *(tools / 'train.py', config, '--work-dir', folder, *options, 'train_cfg.max_epochs=2'),
        cwd=tmp_path,
    )
    assert [0 <= row['dota/mAP'] <= 1 for row in rows(folder) if 'dota/mAP' in row] == [True] * 2
    out = tmp_path / 'submission'
    shell(
        *(tools / 'test.py', config, folder / 'epoch_2.pth', '--work-dir', tmp_path / 'test'),
        *(*options, f'test_evaluator.outfile_prefix={out}', 'test_evaluator.merge_patches=False'),
        cwd=tmp_path,
    )
    assert (out / 'Task1.zip').is_file() or list(out.parent.glob('submission*'))


@pytest.mark.slow
def test_mim_trains_a_config_of_the_zoo(counted, toy_root, tmp_path):
    """``mim train`` of mmrotate, by the name that the family's distribution has."""
    pytest.importorskip('mim')
    case, folder = CASES['dbf'], tmp_path / 'run'
    options = words(settings(case, toy_root['dota'], folder))
    ((distribution, _),) = compat.distributions('mmrotate')
    shell(
        *('-m', 'mim', 'train', distribution, counted(case.name), '--gpus', '0'),
        *('--work-dir', folder, *options, 'train_cfg.max_epochs=2'),
        cwd=tmp_path,
    )
    assert moved(weights(folder, 1), weights(folder, 2)) >= {'neck', 'rpn_head', 'roi_head'}
