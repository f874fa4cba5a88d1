"""determine_widths.py on a detector that was trained on drawn scenes, and the config it writes."""

import re
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmbackbone_plugins.lab import launch
from mmbackbone_plugins.lab.toy import make_toy_dataset
from mmbackbone_plugins.models.scratch import scratch_norm, smallest_multiple
from mmbackbone_plugins.models.width_costs import build_detector, count_cost

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo' / 'rotated-retinanet_r18_fpn_full_toy-dota.py'


@pytest.fixture(autouse=True)
def _scope():
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope='module')
def tool():
    pytest.importorskip('mmrotate')
    return rig.load_tool('analysis_tools/determine_widths')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The demo's detector, trained a little on a few small scenes: config and checkpoint."""
    folder = tmp_path_factory.mktemp('trained')
    data = folder / 'toy'
    make_toy_dataset(data, counts=(16, 4, 0), size=128, density=16, seed=1)
    path = folder / 'baseline.py'
    lines = [f'_base_ = {str(DEMO)!r}', 'model = dict(bbox_head=dict(num_classes=15))']
    for split in ('train', 'val'):
        lines += [
            f'{split}_pipeline = _base_.{split}_pipeline',
            f'for _step in {split}_pipeline:',
            "    if _step['type'] == 'mmdet.Resize':",
            "        _step['scale'] = (128, 128)",
            f'{split}_dataloader = dict(dataset=dict(data_root={str(data) + "/"!r}, '
            f'pipeline={split}_pipeline))',
        ]
    lines += ['del _step', 'train_cfg = dict(max_epochs=2, val_begin=99)']
    lines += ["visualizer = dict(name='determine_widths')", "log_level = 'WARNING'"]
    path.write_text('\n'.join(lines) + '\n')
    cfg = launch.load_config(str(path), work_dir=str(folder / 'run'))
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=2)
    before = dict(DefaultScope._instance_dict)
    Runner.from_cfg(cfg).train()
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
    return str(path), str(folder / 'run' / 'epoch_2.pth')


QUICK = ['--relative', '--images', '16', '--bootstrap', '3']


@pytest.fixture(scope='module')
def made(tool, trained):
    """What the tool wrote, beside its baseline."""
    new = Path(trained[0]).with_name('new.py')
    assert tool.main([*trained, '-o', str(new), *QUICK]) == 0
    return new


def cost(path):
    cfg = launch.load_config(str(path))
    return count_cost(lambda: build_detector(cfg), (128, 128))


def test_no_more_multiply_adds_and_fewer_parameters(trained, made):
    before, after = cost(trained[0]), cost(made)
    assert after.macs <= before.macs
    assert after.parameters < before.parameters
    net = launch.load_config(str(made)).model.backbone
    # The deepest stage spans the smallest part of its channels.
    assert net.stage_widths[3] < 256 and all(w % 8 == 0 for w in net.stage_widths)


def test_the_written_config_trains_from_scratch(made, tmp_path):
    cfg = launch.load_config(str(made))
    Config(cfg.to_dict()).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    backbone = cfg.model.backbone
    assert backbone.type == 'WidthResNet' and backbone.init_cfg is None
    assert backbone.frozen_stages == -1 and backbone.norm_eval is False
    assert cfg.model.neck.in_channels == backbone.stage_widths
    options = ['train_cfg.max_epochs=1', 'default_hooks.checkpoint.interval=1']
    work = ['--work-dir', tmp_path / 'run', '--cfg-options', *options]
    assert rig.call_tool('train', made, *work) == 0
    state = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert state['backbone.layer4.1.bn2.weight'].shape == (backbone.stage_widths[3],)
    model = build_detector(cfg)
    launch.load_weights(model, str(tmp_path / 'run' / 'epoch_1.pth'))


def test_equal_inputs_give_an_equal_config(tool, trained, made, capsys):
    again = made.with_name('again.py')
    picture = made.with_name('widths.png')
    arguments = [*trained, *QUICK, '--out', str(again), '--plot', str(picture)]
    assert tool.main(arguments) == 0
    assert again.read_bytes() == made.read_bytes()
    text = capsys.readouterr().out
    assert picture.stat().st_size > 5000
    before, after = cost(trained[0]), cost(made)
    assert f'{before.parameters:,} -> {after.parameters:,}' in text
    assert f'{before.macs:,} -> {after.macs:,}' in text
    assert 'Sensitivity to the threshold (of the largest eigenvalue)' in text
    rows = re.findall(r'^ +(\S+) +([\d,]+) +[\d.]+ +[\d,]+ +([\d,]+)$', text, re.MULTILINE)
    assert [row[0] for row in rows] == ['0.0001', '0.0003', '0.001', '0.003', '0.01']
    dimensions = [int(row[1].replace(',', '')) for row in rows]
    assert dimensions == sorted(dimensions, reverse=True)
    assert all(int(row[2].replace(',', '')) <= before.macs for row in rows)
    assert 'parameters over resamples of the images, 5..95%' in text
    head = again.read_text().split('_base_')[0]
    assert 'determine_widths.py' in head and 'again.py' not in head
    assert re.search(r'over 1\d images\n', head)  # those with an object
    # The head names what the parameters and multiply-adds are; they are true.
    assert f'{before.parameters:,} before, {after.parameters:,} here' in head
    # It is refused to write over it, unless one says so; then it is written.
    assert tool.main(arguments) == 2
    assert "again.py' exists; --force overwrites it" in capsys.readouterr().err
    again.write_text('stale')
    assert tool.main([*arguments, '--force', '--bootstrap', '0']) == 0
    assert again.read_text() != 'stale'


TINY = """
custom_imports = dict(imports=['rig'], allow_failed_imports=False)
default_scope = 'mmdet'
model = {model!r}
custom_hooks = [dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone')),
                dict(type='DriftHook')]
load_from = 'somewhere.pth'
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='DrawnScenes', length={length}))
"""
SHAPE = ['--shape', '64', '64', '--bootstrap', '0', '--num-groups', '4']


def tiny(folder, name='tiny', length=4, model=None):
    """A config over drawn noise and a checkpoint of its initial weights."""
    model = model or rig.detector()
    path = folder / f'{name}.py'
    path.write_text(TINY.format(model=model, length=length))
    torch.manual_seed(0)
    built = rig.build(model)
    built.init_weights()
    torch.save(built.state_dict(), folder / f'{name}.pth')
    return [str(path), str(folder / f'{name}.pth')]


def bottleneck(**options):
    """A detector whose backbone is fine-tuned as usual: frozen batch norm and stages."""
    net = dict(type='mmdet.ResNet', depth=50, base_channels=4, frozen_stages=1, **options)
    net.update(norm_eval=True, norm_cfg=dict(type='BN', requires_grad=True))
    return rig.detector(backbone=net)


def test_what_holds_on_to_pretrained_weights_is_left_behind(tool, tmp_path, capsys):
    inputs = tiny(tmp_path, model=bottleneck())
    folder = tmp_path / 'deeper' / 'still'
    shape = [*SHAPE, '--multiple', '4']
    assert tool.main([*inputs, '-o', str(folder / 'new.py'), *shape]) == 0
    cfg = launch.load_config(str(folder / 'new.py'))
    net = cfg.model.backbone
    assert net.norm_cfg == dict(type='GN', num_groups=4, requires_grad=True)
    assert (net.frozen_stages, net.norm_eval, net.init_cfg) == (-1, False, None)
    assert [h.type for h in cfg.custom_hooks] == ['DriftHook']
    assert cfg.load_from is None
    assert cfg.custom_imports.imports == ['rig', 'mmbackbone_plugins']
    assert list(folder.iterdir()) == [folder / 'new.py']
    built = rig.build(cfg.model.to_dict())
    norms = [m for m in built.backbone.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms) == 53 and all(p.requires_grad for p in built.backbone.parameters())


FROZEN = dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=True)
AFFINE_FROZEN = dict(norm_cfg=dict(type='SyncBN', requires_grad=False), norm_eval=False)
TRAINED = dict(norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False)
GROUPS = dict(norm_cfg=dict(type='GN', num_groups=8, requires_grad=True), norm_eval=True)
GN = dict(type='GN', num_groups=16, requires_grad=True)


@pytest.mark.parametrize(
    ('backbone', 'kind', 'wanted', 'multiple'),
    [
        (FROZEN, 'auto', GN, 16),
        ({}, 'auto', GN, 16),  # mmdet's default: frozen batch norm
        (AFFINE_FROZEN, 'auto', GN, 16),
        (TRAINED, 'auto', TRAINED['norm_cfg'], 8),
        (GROUPS, 'auto', GROUPS['norm_cfg'], 8),
        (TRAINED, 'gn', GN, 16),
        (GROUPS, 'gn', GROUPS['norm_cfg'], 8),
        (GROUPS, 'bn', dict(type='BN', requires_grad=True), 8),
        (AFFINE_FROZEN, 'bn', TRAINED['norm_cfg'], 8),
    ],
)
def test_the_norm_of_a_run_from_scratch_trains(backbone, kind, wanted, multiple):
    norm = scratch_norm(backbone, kind, 16)
    assert norm == wanted and smallest_multiple(norm) == multiple
    assert smallest_multiple(norm, deep_stem=True) == max(2 * (norm.get('num_groups') or 1), 8)


def test_another_config_may_be_inherited(tool, tmp_path, capsys):
    inputs = tiny(tmp_path)
    longer, _ = tiny(tmp_path, 'longer', length=6)
    new = tmp_path / 'new.py'
    assert tool.main([*inputs, '-o', str(new), '--inherit', longer, *SHAPE]) == 0
    assert "_base_ = 'longer.py'" in new.read_text()
    assert launch.load_config(str(new)).train_dataloader.dataset.length == 6
    wider = rig.detector(backbone={**rig.resnet(), 'base_channels': 32})
    wider['neck']['in_channels'] = [32, 64, 128, 256]
    other, _ = tiny(tmp_path, 'wider', model=wider)
    assert tool.main([*inputs, '-o', str(new), '--force', '--inherit', other, *SHAPE]) == 2
    assert "wider.py' have different widths" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--budget', '0.001'], r'budget of [\d,]+ MACs is impossible: .* needs [\d,]+ MACs'),
        (['--threshold', '1e9'], r'--threshold 1e\+09 leaves nothing: the largest eigenvalue'),
        (['--norm', 'gn', '--multiple', '6'], r'--multiple must be a multiple of 4, .* got 6'),
        (['--inherit', 'nothing.py'], r"config 'nothing.py' does not exist"),
        (['--split', 'val'], r'has no val_dataloader'),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(tool, tmp_path, capsys, options, message):
    inputs = tiny(tmp_path)
    assert tool.main([*inputs, '-o', str(tmp_path / 'new.py'), *SHAPE, *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and re.search(message, error), error
    assert not list(tmp_path.glob('*new.py'))


def test_inputs_that_do_not_fit_are_named(tool, tmp_path, capsys):
    def error_of(inputs, out=None):
        arguments = [*inputs, '-o', str(out or tmp_path / 'new.py'), *SHAPE]
        assert tool.main(arguments) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    good = tiny(tmp_path)
    assert "checkpoint 'no.pth' does not exist" in error_of([good[0], 'no.pth'])
    assert "config 'no.py' does not exist" in error_of(['no.py', good[1]])
    assert 'must be a .py file' in error_of(good, tmp_path / 'new.txt')
    assert '--force overwrites it' in error_of(good, Path(good[0]))
    swin = tiny(tmp_path, 'swin', model=rig.detector(backbone=rig.swin()))
    assert 'the backbone is a SwinTransformer; widths can be set for' in error_of(swin)
    empty = tiny(tmp_path, 'empty', length=0)
    assert 'the data set (DrawnScenes) has no images: check ann_file' in error_of(empty)
    other = tiny(tmp_path, 'other', model=bottleneck())
    assert 'does not fit the config' in error_of([good[0], other[1]])
    state = torch.load(good[1])
    state['backbone.layer3.0.conv1.weight'] += float('nan')
    torch.save(state, tmp_path / 'nan.pth')
    assert "'slots.stage3-0-conv1' yields NaN or Inf" in error_of(
        [good[0], str(tmp_path / 'nan.pth')]
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--images', '0'], '--images must be positive, got 0'),
        (['--threshold', '2', '--relative'], '--threshold must be below 1 with --relative, got 2'),
        (['--threshold', 'nan'], '--threshold must be positive, got nan'),
        (['--bootstrap', '-1'], '--bootstrap must not be negative, got -1'),
        (['--cfg-options', 'model.backbone.depth=34'], '--cfg-options may not change the model'),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tool, capsys, options, message):
    with pytest.raises(SystemExit):
        tool.main(['config.py', 'checkpoint.pth', '-o', 'new.py', *options])
    assert message in capsys.readouterr().err
