"""tools/benchmark.py as a user runs it: real detectors, a kill, a failure, a resume, a report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from mmbackbone_plugins.lab import launch
from mmbackbone_plugins.lab.benchmarking import load_results, single
from mmbackbone_plugins.lab.benchmarking.collect import scores
from mmbackbone_plugins.lab.benchmarking.results import read_result
from mmbackbone_plugins.lab.toy import make_toy_dataset

ROOT = Path(__file__).resolve().parents[3]
TOOL = [sys.executable, 'tools/benchmark.py']
RUN = 'toy/small/full/seed0'


def test_scores_are_sorted_by_class():
    nan = float('nan')
    found = scores(
        {
            'oriented/mAP': 0.4,
            'oriented/AP50': 0.6,
            'oriented/AP55': 0.5,
            'oriented/plane/mAP': 0.4,
            'oriented/plane/boxes': 12.0,
            'oriented/ship/mAP': nan,  # no ship is labelled
            'oriented/boxes': 12.0,
            'oriented/images': 5.0,
            'time': 0.1,
        },
        images=5,
    )
    assert found == dict(mAP=0.4, AP50=0.6, classes={'plane': {'mAP': 0.4}}, boxes=12, images=5)
    coco = scores({'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.5, 'coco/bbox_mAP_s': 0.1}, 7)
    assert coco == dict(mAP=0.3, AP50=0.5, classes={}, images=7)
    with pytest.raises(ValueError, match='no mAP'):
        scores({'voc/recall': 0.1}, 3)


def write_plan(path, data, work_dir):
    tiny = {
        'model.backbone.base_channels': 16,
        'model.neck.in_channels': [16, 32, 64, 128],
        'train_cfg.max_epochs': 6,
        'train_cfg.val_interval': 6,
        'param_scheduler': [],
        'default_hooks.checkpoint': dict(interval=1, max_keep_ckpts=2, save_best=None),
        'val_evaluator': dict(_delete_=True, type='OrientedMetric'),
    }
    for loader in ('train', 'val', 'test'):
        tiny[f'{loader}_dataloader.dataset.data_root'] = f'{data}/clear/'
    config = 'configs/demo/rotated-retinanet_r18_fpn_{}_toy-dota.py'
    plan = dict(
        work_dir=str(work_dir),
        options=tiny,
        datasets=dict(
            toy=dict(
                tests=dict(
                    clear=dict(split='val'),
                    snow=dict(
                        split='val', options={'val_dataloader.dataset.data_root': f'{data}/snow/'}
                    ),
                )
            )
        ),
        detectors=['small'],
        methods=dict(
            full=config.format('full'),
            broken=dict(
                config=config.format('frozen'), options={'optim_wrapper.optimizer.lr': -1.0}
            ),
        ),
        measure=dict(cost={}, rgn=dict(interval=2), drift=dict(num_images=2), eigenspectrum={}),
    )
    path.write_text(yaml.safe_dump(plan))


@pytest.mark.parametrize('channels', [8, 16])
def test_channels_last_of_narrow_layers(monkeypatch, channels):
    model = nn.Sequential(nn.Conv2d(8, channels, 3), nn.Conv2d(channels, 32, 1, stride=2))
    monkeypatch.setattr(launch, 'build_runner', lambda cfg: SimpleNamespace(model=model))
    if channels < 16:
        with pytest.raises(ValueError, match='--channels-last is not for .*; 1 has 8'):
            single._build(None, channels_last=True)
        single._build(None, channels_last=False)
    else:
        single._build(None, channels_last=True)
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def alive(pid):
    """Whether a process that is not ours to wait for is at work."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.slow
def test_killed_resumed_and_reported(tmp_path):
    for style in ('clear', 'snow'):
        make_toy_dataset(
            tmp_path / style, fmt='dota', counts=(8, 4, 0), size=128, styles=(style,), density=24.0
        )
    plan = tmp_path / 'plan.yml'
    write_plan(plan, tmp_path, tmp_path / 'work')
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    folder = tmp_path / 'work/runs' / RUN

    (tmp_path / 'snow/val').rename(tmp_path / 'away')
    short = subprocess.run([*TOOL, plan], cwd=ROOT, env=env, capture_output=True, text=True)
    assert short.returncode == 2
    assert f'val_dataloader.dataset.ann_file: {tmp_path}/snow/val/annfiles' in short.stderr
    (tmp_path / 'away').rename(tmp_path / 'snow/val')

    dry = subprocess.run(
        [*TOOL, plan, '--dry-run'], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert dry.returncode == 0, dry.stderr
    assert '2 runs, ' in dry.stdout and 'GFLOPs' in dry.stdout
    assert not (tmp_path / 'work/runs').exists()

    here = [*TOOL, plan, '--channels-last']
    refused = subprocess.run(
        [*here, '--slurm', 'print', '--partition', 'p'], cwd=ROOT, env=env, capture_output=True
    )
    assert refused.returncode == 2 and b'--channels-last is for runs on this' in refused.stderr
    tool = subprocess.Popen([*here, '--only', RUN], cwd=ROOT, env=env)
    deadline = time.monotonic() + 300
    while not list((folder / 'train').glob('epoch_2.pth')):
        assert tool.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child = int(subprocess.check_output(['pgrep', '-P', str(tool.pid)], text=True).split()[0])
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    while alive(child):  # it sees that nobody waits for it any more
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (folder / 'result.json').exists()
    assert 'the process that started this run is gone' in (folder / 'log.txt').read_text()

    again = subprocess.run(here, cwd=ROOT, env=env, capture_output=True, text=True)
    assert again.returncode == 1, again.stdout + again.stderr  # one of the two must fail
    assert f'resumed: {RUN}' in again.stdout
    assert 'FAILED: toy/small/broken/seed0' in again.stdout
    assert 'Invalid learning rate: -1.0' in again.stdout
    starts = [p.name for p in (folder / 'train').iterdir() if (p / 'vis_data').is_dir()]
    assert len(starts) == 2

    (finished,) = [r for r in load_results(tmp_path / 'work') if r.state == 'finished']
    (failed,) = [r for r in load_results(tmp_path / 'work') if r.state == 'failed']
    assert 'Invalid learning rate' in failed.error
    assert set(finished.scores) == {'clear', 'snow'} and finished.in_domain == ['clear']
    assert finished.cost['flops'] == finished.cost['full_flops'] > 0
    assert finished.rgn['mean'] > 0 and finished.drift['mean'] > 0
    assert finished.checkpoint == 'train/epoch_6.pth'
    weights = torch.load(folder / finished.checkpoint, weights_only=False)['state_dict']
    assert weights['backbone.layer1.0.conv1.weight'].is_contiguous(
        memory_format=torch.channels_last
    )
    assert finished.machine['channels_last'] is True
    looks = json.loads((folder / 'detections.json').read_text())
    assert [look['domain'] for look in looks['images']] == ['clear'] * 3 + ['snow'] * 3

    # The same run left alone comes to the same bits and numbers.
    subprocess.run([*here, '--repeat', RUN], cwd=ROOT, env=env, check=True)
    alone = read_result(tmp_path / 'work/repeats' / RUN / 'result.json')
    assert alone.scores == finished.scores
    assert alone.drift == finished.drift and alone.rgn == finished.rgn
    assert alone.cost['flops'] == finished.cost['flops']

    report = (tmp_path / 'work/report/report.md').read_text()
    assert f'{RUN} gave the same bits (0 of ' in report and 'tensors differ, no score)' in report
    assert 'broken' in report and f'{100 * finished.scores["clear"]["mAP"]:.1f}' in report
