"""Costs before and after training, as the tools print and write them."""

import json
import re

import pytest
import rig
import small_vit
from mmengine.config import Config

from mmbackbone_plugins.cost import training_flops
from mmbackbone_plugins.lab import inputs

KEYS = {
    *('config', 'schedule', 'training_flops', 'full_training_flops', 'saving', 'parameters'),
    *('trainable_parameters', 'uncounted_ops'),
}
CHANNELS = rig.CHANNELS


def load(name):
    return rig.load_tool(f'analysis_tools/{name}')


@pytest.fixture(scope='module')
def tool():
    return load('plan_cost')


def write(folder, name='run', model=None, hook=None, loop=None, pipeline=True, **options):
    """A config file as a user has one."""
    steps = [dict(type='Resize', scale=(64, 64))] if pipeline else []
    settings = dict(
        model=model or rig.detector('retinanet'),
        train_dataloader=dict(batch_size=2, dataset=dict(type='CocoDataset', pipeline=steps)),
        train_cfg=loop or dict(type='EpochBasedTrainLoop', max_epochs=4),
        custom_imports=dict(imports=['mmbackbone_plugins'], allow_failed_imports=False),
        custom_hooks=[hook or rig.dbf(2)],
        default_scope='mmdet',
    )
    settings.update(options)
    for key in [k for k, v in settings.items() if v is None]:
        del settings[key]
    path = folder / f'{name}.py'
    Config(settings).dump(str(path))
    return str(path)


def plan(tool, tmp_path, *arguments):
    out = tmp_path / 'figures' / 'plan.json'
    assert tool.main([*arguments, '--out', str(out)]) == 0
    found = json.loads(out.read_text())
    assert all(one.keys() >= KEYS for one in found)
    return found


def test_two_configs_side_by_side(tool, tmp_path, capsys):
    dbf, full = write(tmp_path, 'dbf'), write(tmp_path, 'full', custom_hooks=[])
    one, two = plan(tool, tmp_path, dbf, full, '--images', '100')
    assert [one['config'], two['config']] == [dbf, full]
    assert one['schedule'] == 'StepFreezing(rho=2, by_epoch=True)'
    assert two['schedule'] == 'FullTraining()' and two['saving'] == 0
    assert one['full_training_flops'] == two['training_flops'] == two['full_training_flops']
    first, second = one['phases']
    steps = [p['forward_flops'] + p['backward_flops'] for p in (first, second)]
    assert one['training_flops'] == 100 * (2 * steps[0] + 2 * steps[1])
    assert two['training_flops'] == 100 * 4 * steps[0]
    assert one['saving'] == pytest.approx(1 - one['training_flops'] / two['training_flops'])
    assert one['trainable_parameters'] == one['parameters']  # in every second epoch
    assert one['uncounted_ops']['aten.native_batch_norm'] > 0
    out = capsys.readouterr().out
    assert '4 epochs of 100 images, 64 x 64 px' in out and 'not here' not in out


def test_the_batch_that_fits_is_larger_in_frozen_phases(tool, tmp_path, capsys):
    wrapper = dict(optimizer=rig.ADAMW)
    files = [
        write(tmp_path, how, hook=rig.dbf(2, frozen_forward=how), optim_wrapper=wrapper)
        for how in ('exact', 'folded')
    ]
    options = ('--images', '10', '--shape', '128', '128', '--memory')
    exact, folded = (one['memory'] for one in plan(tool, tmp_path, *files, *options, '0.05'))
    assert [row['trains'] for row in exact] == ['all', 'none']
    out = capsys.readouterr().out
    for row in (*exact, *folded):
        size = f'{row["fixed_bytes"] / 1e9:.3f}  +{row["bytes_per_image"] / 1e9:.3f}'
        assert re.search(f'{row["trains"]} +{size} +{row["batch"]}', out)
        used = [row['fixed_bytes'] + n * row['bytes_per_image'] for n in (0, 1)]
        assert used[0] + row['batch'] * row['bytes_per_image'] <= 0.05e9 < used[1] * 99
    training, frozen = exact
    assert frozen['batch'] > 1.5 * training['batch'] > 0
    assert folded[1]['bytes_per_image'] < 1.5 * frozen['bytes_per_image']
    # Weights and AdamW's two moments; gradients are in what is measured.
    weights = 4 * plan(tool, tmp_path, files[0])[0]['parameters']
    assert frozen['fixed_bytes'] > 3 * weights
    with pytest.raises(SystemExit):
        tool.main([files[0], '--memory', '0'])


def test_a_sweep_of_rho(tool, tmp_path, capsys):
    picture = tmp_path / 'pictures' / 'rho.png'
    config = write(tmp_path, loop=dict(type='EpochBasedTrainLoop', max_epochs=10))
    rhos = ['1', '2', '5', 'inf']
    found = plan(tool, tmp_path, config, '--rho', *rhos, '--plot', str(picture))
    assert [one['rho'] for one in found] == [1, 2, 5, 'inf']
    full = found[0]['training_flops']
    frozen = found[3]['training_flops']
    for one, epochs in zip(found, (10, 5, 2, 0)):
        assert one['training_flops'] == (epochs * full + (10 - epochs) * frozen) / 10
        assert one['images'] is None
    assert found[0]['saving'] == 0 < found[1]['saving'] < found[2]['saving'] < found[3]['saving']
    assert found[3]['trainable_parameters'] < found[0]['trainable_parameters']
    assert picture.stat().st_size > 10_000
    assert 'one image' in capsys.readouterr().out


def test_shape_options_and_batch(tool, tmp_path):
    config = write(tmp_path, pipeline=False)
    (small,) = plan(tool, tmp_path, config, '--shape', '64', '64')
    (large,) = plan(tool, tmp_path, config, '--shape', '64', '128', '--batch', '2')
    assert large['shape'] == [64, 128]
    assert large['training_flops'] == pytest.approx(2 * small['training_flops'], rel=0.02)
    options = ('--shape', '64', '64', '--cfg-options', 'train_cfg.max_epochs=8')
    (longer,) = plan(tool, tmp_path, config, *options)
    assert longer['training_flops'] == 2 * small['training_flops']


def test_loops_of_iterations(tool, tmp_path):
    loop = dict(type='IterBasedTrainLoop', max_iters=6)
    config = write(tmp_path, loop=loop, hook=rig.dbf(3, by_epoch=False))
    (one,) = plan(tool, tmp_path, config)
    assert (one['unit'], one['length'], one['images']) == ('iteration', 6, 2)
    (two,) = plan(tool, tmp_path, config, '--gpus', '4')
    assert two['images'] == 8 and two['training_flops'] == 4 * one['training_flops']
    (swept,) = plan(tool, tmp_path, config, '--rho', '3')
    assert swept['schedule'] == 'StepFreezing(rho=3, by_epoch=False)'
    assert swept['training_flops'] == one['training_flops']
    # A schedule by iteration in a loop of epochs needs to know how many an epoch has.
    config = write(tmp_path, 'epochs', hook=rig.dbf(3, by_epoch=False))
    (three,) = plan(tool, tmp_path, config, '--images', '7')
    assert three['length'] == 4 * 4


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(train_cfg=None), 'has no training loop'),
        (dict(train_dataloader=None), 'has no training loop'),
        (dict(pipeline=False), '--shape HEIGHT WIDTH'),
        (dict(loop=dict(type='IterBasedTrainLoop', max_iters=6)), 'by_epoch=False'),
        (dict(loop=dict(max_epochs='12')), "at least 1, got '12'"),
        (dict(loop=dict(max_epochs=1.5)), 'train_cfg.max_epochs must be a whole number'),
        (dict(custom_hooks=rig.dbf(2)), 'custom_hooks must be a list'),
        (dict(hook=rig.dbf(2, by_epoch=False)), '--images'),
        (dict(hook=rig.dbf(2, target='spine')), "target 'spine' does not exist"),
    ],
)
def test_bad_configs(options, words, tool, tmp_path, capsys):
    config = write(tmp_path, **options)
    assert tool.main([config]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f'error: {config}: ') and words in said


def test_no_such_config(tool, capsys):
    assert tool.main(['nowhere.py']) == 2
    assert "config 'nowhere.py' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--rho', '0'], "--rho takes positive integers and 'inf', got '0'"),
        (['--rho', '2.5'], "got '2.5'"),
        (['--plot', 'x.png'], 'give --rho'),
        (['--shape', '0', '64'], '--shape must be two positive integers'),
        (['--images', '-3'], '--images must be a positive integer, got -3'),
    ],
)
def test_bad_arguments(arguments, words, tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['config.py', *arguments])
    assert words in capsys.readouterr().err


def small(neck, cascade):
    """Faster R-CNN with FPN or NAS-FPN, or Cascade R-CNN with NAS-FPN, at a tenth of the size."""
    model = rig.detector('faster-rcnn', rig.resnet(frozen_stages=1))
    model['train_cfg']['rcnn']['sampler']['num'] = 16
    if neck == 'nasfpn':
        model['neck'] = dict(
            type='NASFPN',
            in_channels=CHANNELS,
            out_channels=16,
            start_level=1,
            num_outs=5,
            stack_times=7,
            norm_cfg=dict(type='BN', requires_grad=True),
        )
        model['rpn_head']['anchor_generator']['strides'] = [8, 16, 32, 64, 128]
        model['roi_head']['bbox_roi_extractor']['featmap_strides'] = [8, 16, 32, 64]
    if cascade:
        one = model['roi_head']['bbox_head']
        head = dict(one, loss_bbox=dict(type='SmoothL1Loss', beta=1.0))
        model['roi_head'].update(
            type='CascadeRoIHead',
            num_stages=3,
            stage_loss_weights=[1, 0.5, 0.25],
            bbox_head=[dict(head) for _ in range(3)],
        )
        model['train_cfg']['rcnn'] = [dict(model['train_cfg']['rcnn']) for _ in range(3)]
    return model


def test_the_order_of_necks_and_heads(tool, tmp_path):
    """The share that trains grows with the decoder; freezing saves the same, ever less of all."""
    hook = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    configs = [
        write(tmp_path, name, small(*parts), hook)
        for name, parts in dict(
            fpn=('fpn', False), nasfpn=('nasfpn', False), cascade=('nasfpn', True)
        ).items()
    ]
    fpn, nas, cascade = plan(tool, tmp_path, *configs, '--shape', '256', '256')
    share = [one['trainable_parameters'] / one['parameters'] for one in (fpn, nas, cascade)]
    assert share[0] < share[1] < share[2]
    assert fpn['saving'] > nas['saving'] > cascade['saving'] > 0
    saved = [o['full_training_flops'] - o['training_flops'] for o in (fpn, nas, cascade)]
    # What is saved is the backward pass of the backbone, whatever stands on it; a neck that starts
    # at another level asks for one gradient less.
    assert saved[1] == pytest.approx(saved[0], rel=0.05)
    assert saved[2] == pytest.approx(saved[1], rel=0.02)


def test_the_schedule_tool_agrees(tool, tmp_path, monkeypatch, capsys):
    config, out = write(tmp_path), tmp_path / 'schedule.json'
    (one,) = plan(tool, tmp_path, config, '--images', '10')
    printer = load('print_freezing_schedule')
    arguments = ['print', config, '--images', '10', '--out', str(out)]
    monkeypatch.setattr('sys.argv', arguments)
    assert printer.main() == 0
    found = json.loads(out.read_text())
    for key in ('training_flops', 'full_training_flops', 'saving', 'schedule', 'parameters'):
        assert found[key] == one[key]
    assert 'stage4  #.#.' in capsys.readouterr().out


def test_bills_of_finished_runs(tmp_path, capsys):
    show = load('show_cost')
    hooks = [rig.dbf(2), dict(type='TrainingCostHook')]
    rig.train(tmp_path / 'dbf', hooks=hooks, epochs=2, length=2)
    rig.train(tmp_path / 'full', hooks=hooks[1:], epochs=2, length=2)
    folders = [str(tmp_path / name) for name in ('dbf', 'full')]
    out = tmp_path / 'all.json'
    assert show.main([*folders, '--out', str(out)]) == 0
    printed = capsys.readouterr().out
    assert 'parameters that train' in printed and printed.count('full fine-tuning') == 2
    found = json.loads(out.read_text())
    assert found[folders[0]]['totals']['saving'] > 0 == found[folders[1]]['totals']['saving']
    assert show.main([str(tmp_path)]) == 2
    assert 'has no cost record' in capsys.readouterr().err
    (tmp_path / 'dbf' / 'cost.json').write_text('{')
    assert show.main(folders) == 2
    assert 'cannot be read' in capsys.readouterr().err


@pytest.mark.newer_torch
def test_what_no_file_fills_is_counted_with_its_backward_pass(tool, tmp_path, capsys):
    model = small_vit.swin(tmp_path)
    hook = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    config = write(tmp_path, model=model, hook=hook)
    (one,) = plan(tool, tmp_path, config, '--images', '10', '--shape', '64', '64')
    (phase,) = one['phases']
    assert phase['stages'] == ['unloaded'] and one['unknown_weights'] is None

    net = rig.build(model).train()
    for name, parameter in net.backbone.named_parameters():
        parameter.requires_grad_(bool(re.match(r'norm\d', name)))
    cfg = Config.fromfile(config)
    by_hand = training_flops(net, *inputs.draw_batch(cfg, net, (64, 64), 1))
    assert phase['backward_flops'] == by_hand.backward
    assert phase['trainable_parameters'] == sum(
        p.numel() for p in net.parameters() if p.requires_grad
    )
    (tmp_path / 'swin.pth').unlink()
    (one,) = plan(tool, tmp_path, config, '--images', '10', '--shape', '64', '64')
    assert one['phases'][0]['stages'] == [] and one['unknown_weights'] in capsys.readouterr().out
