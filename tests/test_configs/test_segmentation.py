"""Segmentors of the zoo: configs are what their names say, and step, tools included."""

import json
import math
import re

import cv2
import numpy as np
import pytest
import rig
import stepping
import torch
import zoo

from mmbackbone_plugins import build_schedule
from mmbackbone_plugins.lab import launch

pytest.importorskip('mmseg', reason='MMSegmentation is not installed')
NAMES = sorted(p.stem for p in (zoo.CONFIGS / 'segmentation').glob('*.py'))
NAME = re.compile(
    r'(upernet_swin-t|deeplabv3plus_r50-d8)_((?P<method>[a-z0-9-]+)-)?'
    r'(?P<length>100e|80k)_(?P<data>loveda|isaid)'
)
SCHEDULES = {
    'frozen': 'FrozenBackbone()',
    'dbf-rho10': 'StepFreezing(rho=10, by_epoch={})',
    'dp-ft': 'ProbeThenFinetune(probe=0.5, by_epoch={})',
}


def load(name):
    return launch.load_config(str(zoo.CONFIGS / 'segmentation' / f'{name}.py'), work_dir='runs')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Both layouts, four pictures a split, of more than one size."""
    root, noise = tmp_path_factory.mktemp('drawn'), np.random.default_rng(0)
    for split, i in ((s, i) for s in ('train', 'val') for i in range(4)):
        image = noise.integers(0, 256, (80 + 16 * i, 96, 3), np.uint8)
        labels = noise.integers(0, 4, image.shape[:2], np.uint8)
        for data, tail in (('loveda', ''), ('isaid', '_instance_color_RGB')):
            for kind, what, end in (('img', image, ''), ('ann', labels, tail)):
                path = root / data / f'{kind}_dir' / split / f'{i}{end}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), what)
    return root


def small(cfg, root, work_dir):
    """Narrow, shallow and offline in place; steps of the pipelines and all types stay."""
    cfg = stepping.Config(cfg.to_dict())
    net, heads = cfg.model.backbone, (cfg.model.decode_head, cfg.model.auxiliary_head)
    net.init_cfg = None
    swin = 'Swin' in net.type
    if swin:
        net.update(embed_dims=16, depths=(1,) * 4, num_heads=(1, 1, 2, 2), window_size=4)
        heads[0].in_channels, heads[1].in_channels = rig.CHANNELS, 64
    else:
        net.update(base_channels=8, stem_channels=16)
        heads[0].update(in_channels=256, c1_in_channels=32, c1_channels=8)
        heads[1].in_channels = 128
    for head in heads:
        head.channels = 16
    cfg.model.data_preprocessor.size = (64, 64)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
        for step in loader.dataset.pipeline:
            step.update({k: (64, 64) for k in ('scale', 'crop_size') if k in step})
    cfg.train_dataloader.batch_size = 2
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.pop('visualization', None)
    cfg.update(work_dir=str(work_dir), log_level='ERROR', experiment_name=f'{work_dir.name}')
    cfg.visualizer.name = str(work_dir)
    return cfg


@pytest.mark.parametrize('name', NAMES)
def test_config(name, drawn, tmp_path):
    parts, cfg = NAME.fullmatch(name), load(name)
    by_epoch = parts['length'] == '100e'
    assert cfg.train_dataloader.dataset.type.lower() == f'{parts["data"]}dataset'
    assert cfg.train_cfg.get('max_epochs' if by_epoch else 'max_iters') in (100, 80000)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained' and cfg.default_scope == 'mmseg'
    full = load(name.replace(f'_{parts["method"]}-', '_')).to_dict()
    hooks = cfg.pop('custom_hooks', [])
    assert cfg.to_dict() == full and len(hooks) == (parts['method'] is not None)
    if hooks:
        schedule = build_schedule(hooks[0].schedule)
        assert repr(schedule) == SCHEDULES[parts['method']].format(by_epoch)
        cfg.custom_hooks = hooks

    cfg = small(cfg, drawn / parts['data'], tmp_path)
    loop = dict(max_epochs=2) if by_epoch else dict(max_iters=4)
    cfg.train_cfg.update(**loop, val_interval=list(loop.values())[0])
    runner = launch.build_runner(cfg)
    watch = stepping.Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    assert len(watch.losses) == 4 and all(math.isfinite(one['loss']) for one in watch.losses)
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
    after, start = runner.model.state_dict(), watch.weights[0]
    moved = {k for k in start if not torch.equal(start[k], after[k])}
    assert any(k.startswith('decode_head.') for k in moved)
    inside = any(k.startswith('backbone.') for k in moved)
    assert inside == (parts['method'] != 'frozen')
    if parts['method'] == 'dp-ft':
        (probed,) = tmp_path.rglob('probed.pth')
        runner.save_checkpoint(str(tmp_path), 'tuned.pth')
        ends, between = (probed, tmp_path / 'tuned.pth'), tmp_path / 'between.pth'
        assert rig.call_tool('interpolate_weights', *ends, '--weight', '0.5', '-o', between) == 0


def test_tools(drawn, tmp_path, capsys):
    cfg = small(load('upernet_swin-t_dp-ft-100e_loveda'), drawn / 'loveda', tmp_path)
    config = tmp_path / 'small.py'
    cfg.dump(config)
    out = tmp_path / 'figures.json'
    tools = 'analysis_tools/'
    assert rig.call_tool(f'{tools}plan_cost', config, '--rho', '1', 'inf', '--out', out) == 0
    full, frozen = json.loads(out.read_text())
    assert full['shape'] == [64, 64] and full['images'] == 4
    assert frozen['training_flops'] < full['training_flops']
    assert rig.call_tool(f'{tools}print_freezing_schedule', config) == 0
    assert rig.call_tool(f'{tools}measure_rgn', config, '--batches', '2', '--out', out) == 0
    (run,) = json.loads(out.read_text())['runs']
    assert {'stem', 'stage4'} <= set(run['table']['stages'])
    spectra = ['--foreground', 'classes', '--split', 'train', '--out', tmp_path / 'spectra']
    assert rig.call_tool(f'{tools}analyze_eigenspectrum', config, *spectra) == 0
    assert 'backbone.stage4@' in capsys.readouterr().out
    model = launch.build_detector(cfg)[0]
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    sweep = ['--split', 'val', '--out', tmp_path / 'sweep']
    assert rig.call_tool(f'{tools}test_robustness', config, tmp_path / 'w.pth', *sweep) == 2
    assert 'ends with PackSegInputs: this tool scores the boxes' in capsys.readouterr().err
