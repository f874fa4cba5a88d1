"""TrainingCostHook in real runs: the right costs, and training is what it was."""

import json
import sys

import pytest
import rig
import torch
from mmdet.models import ResNet
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from mmbackbone_plugins import FreezePlan, Freezer, StageMap, build_schedule
from mmbackbone_plugins.cost import plan_runs
from mmbackbone_plugins.hooks import full_reference
from mmbackbone_plugins.lab import inputs

COST = dict(type='TrainingCostHook', interval=2)
SIZE = 64


def few_regions(kind):
    """The second stage works on so few regions that there are always enough proposals for them."""
    model = rig.detector(kind)
    if 'rcnn' in kind:
        model['train_cfg']['rcnn']['sampler']['num'] = 16
    return model


def costs(folder):
    return json.loads((folder / 'cost.json').read_text())


def money(data):
    """What an interrupted run and an uninterrupted one must agree on."""
    keys = ('name', 'steps', 'batches', 'counted', 'flops', 'trainable_parameters', 'stages')
    phases = {name: {k: p[k] for k in keys} for name, p in data['phases'].items()}
    totals = {k: data['totals'][k] for k in ('steps', 'training_flops', 'full_training_flops')}
    return dict(phases=phases, totals=totals, full=data['full'], iteration=data['iteration'])


def planned(model, schedule, length, batch=2):
    """What the tool says of the same run, per image and unit of time."""
    pipeline = [dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox'))]
    dataset = dict(pipeline=pipeline) if rig.is_rotated(model) else {}
    config = Config(dict(model=model, train_dataloader=dict(dataset=dataset)))
    net = rig.build(config.model)
    net.train()
    freezer = Freezer(net, StageMap.of(net))
    drawn = inputs.draw_batch(config, net, (SIZE, SIZE), batch)
    plan = FreezePlan(build_schedule(schedule), freezer.stage_map)
    return plan_runs(net, drawn, freezer, [plan], length)[0]


# -- the costs -------------------------------------------------------------------------------------


@pytest.mark.newer_torch
@pytest.mark.parametrize('kind', ['retinanet', 'faster-rcnn', 'rotated-retinanet', 'oriented-rcnn'])
def test_a_plan_and_a_measured_ledger_agree(kind, tmp_path):
    model = few_regions(kind)
    plan = planned(model, dict(type='StepFreezing', rho=2), 3)
    rig.train(tmp_path, hooks=[rig.dbf(2), COST], model=model, epochs=3)
    found = costs(tmp_path)
    images = 8
    assert found['totals']['training_flops'] == pytest.approx(
        plan.training_flops * images, rel=0.01
    )
    assert found['totals']['full_training_flops'] == pytest.approx(
        plan.full_training_flops * images, rel=0.01
    )
    assert found['totals']['saving'] == pytest.approx(plan.saving, abs=0.01)
    for name, stages in (('full', plan.full), ('frozen', frozenset())):
        phase, step = found['phases'][name], plan.flops[stages]
        (counted,) = phase['counted'].values()
        assert counted['forward'] / 2 == pytest.approx(step.forward, rel=0.01)
        assert counted['backward'] / 2 == pytest.approx(step.backward, rel=0.01)
        assert phase['trainable_parameters'] == plan.trainable[stages]
    assert [p['steps'] for p in found['phases'].values()] == [8, 4]
    operators = {n for n in found['uncounted_ops'] if n.startswith('mmcv.')}
    assert operators == {n for n in plan.uncounted_ops if n.startswith('mmcv.')}
    assert ('mmcv.nms' in operators) == ('rcnn' in kind)


@pytest.mark.newer_torch
def test_saving_of_a_run_that_never_trains_everything(tmp_path):
    """The whole is counted with a second model, once, and nowhere if a phase is the whole."""
    model = few_regions('faster-rcnn')
    plan = planned(model, dict(type='FrozenBackbone'), 2)
    hook = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    rig.train(tmp_path / 'frozen', hooks=[hook, COST], model=model, epochs=2)
    found = costs(tmp_path / 'frozen')
    assert list(found['phases']) == ['frozen'] and list(found['full']) == ['1x64x64']
    assert found['totals']['saving'] == pytest.approx(plan.saving, abs=0.01)
    assert found['counting_seconds'] > 0
    rig.train(tmp_path / 'full', hooks=[COST], model=model, epochs=1)
    found = costs(tmp_path / 'full')
    assert list(found['phases']) == ['full'] and found['totals']['saving'] == 0
    assert found['full'] == {} and found['counting_seconds'] == 0


@pytest.mark.newer_torch
def test_phases_are_named_by_what_trains(tmp_path):
    options = dict(epochs=4, length=2)
    probe = dict(type='FreezingSchedulerHook', schedule=dict(type='ProbeThenFinetune', probe=1))
    rig.train(tmp_path / 'probe', hooks=[probe, COST], **options)
    assert list(costs(tmp_path / 'probe')['phases']) == ['probing', 'full']
    schedule = dict(type='GradualUnfreezing', start=1, every=1)
    gradual = dict(type='FreezingSchedulerHook', schedule=schedule)
    model = rig.detector(backbone=rig.resnet(frozen_stages=1))
    rig.train(tmp_path / 'gradual', hooks=[gradual, COST], model=model, **options)
    phases = costs(tmp_path / 'gradual')['phases']
    # With stages 2 to 4 everything trains that may: the model keeps the others frozen itself.
    assert list(phases) == ['probing', 'stage4', 'stage3+stage4', 'full']
    flops = [p['flops'] for p in phases.values()]
    assert flops == sorted(flops) and flops[0] < flops[-1]
    assert phases['stage3+stage4']['stages'] == ['stage3', 'stage4']


@MODELS.register_module(force=True)
class ResNetWithBlock(ResNet):
    """A backbone with a block after its last stage."""

    def __init__(self, **options):
        super().__init__(**options)
        self.block = nn.Conv2d(128, 128, 1)

    def forward(self, x):
        *first, last = super().forward(x)
        return (*first, last + self.block(last))

    def stage_prefixes(self):
        stages = [(f'stage{i}', [f'layer{i}']) for i in (1, 2, 3, 4)]
        return [('stem', ['conv1', 'bn1']), *stages, ('stage4.block', ['block'])]


@pytest.mark.newer_torch
def test_everything_is_frozen_but_blocks(tmp_path):
    model = rig.detector(backbone=dict(rig.resnet(), type='ResNetWithBlock'))
    rig.train(tmp_path, hooks=[rig.dbf(2), COST], model=model, epochs=2)
    phases = costs(tmp_path)['phases']
    assert list(phases) == ['full', 'blocks'] and phases['blocks']['stages'] == ['stage4.block']
    head = sum(p.numel() for n, p in rig.build(model).named_parameters() if 'backbone' not in n)
    assert phases['blocks']['trainable_parameters'] == head + 128 * 128 + 128
    # The block is 1x1 on maps of 2x2: forward, and a backward pass for weights alone.
    plain = planned(rig.detector(), dict(type='FrozenBackbone'), 1).flops[frozenset()]
    block = 2 * 128 * 128 * 4
    (counted,) = phases['blocks']['counted'].values()
    assert counted['forward'] == 2 * (plain.forward + block)


def test_an_iteration_loop(tmp_path):
    model = few_regions('retinanet')
    hooks = [rig.dbf(3, by_epoch=False), COST]
    record = rig.train(tmp_path, hooks=hooks, iters=7, model=model, validate=True)
    found = costs(tmp_path)
    assert {n: p['steps'] for n, p in found['phases'].items()} == dict(full=3, frozen=4)
    parameters = dict(rig.build(model).named_parameters())
    trains = {sum(parameters[n].numel() for n in names) for names in record.trains}
    assert {p['trainable_parameters'] for p in found['phases'].values()} == trains
    assert found['validation_seconds'] > 0


def test_accumulation_counts_every_pass(tmp_path):
    rig.train(tmp_path / 'each', hooks=[COST], epochs=1)
    rig.train(tmp_path / 'four', hooks=[COST], epochs=1, wrapper=dict(accumulative_counts=4))
    assert money(costs(tmp_path / 'each')) == money(costs(tmp_path / 'four'))


@pytest.mark.newer_torch
def test_the_last_batch_of_an_epoch_is_smaller(tmp_path):
    rig.train(tmp_path / 'all', hooks=[COST], epochs=1, length=7)
    found = costs(tmp_path / 'all')
    assert found['phases']['full']['batches'] == {'2x64x64': 3, '1x64x64': 1}
    assert len(found['phases']['full']['counted']) == 2
    # In proportion to the images it is the same, in a detector with one stage.
    rig.train(tmp_path / 'one', hooks=[dict(COST, max_shapes=1)], epochs=1, length=7)
    again = costs(tmp_path / 'one')
    assert list(again['phases']['full']['counted']) == ['2x64x64']
    assert again['totals']['training_flops'] == found['totals']['training_flops']


@DATASETS.register_module(force=True)
class TwoSizes(rig.DrawnScenes):
    """Every second image is larger."""

    def __getitem__(self, index):
        self.size = (64, 96)[index % 2]
        return super().__getitem__(index)


@pytest.mark.newer_torch
def test_images_of_several_sizes(tmp_path):
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dict(type='TwoSizes', length=5),
    )
    rig.train(tmp_path / 'each', hooks=[COST], epochs=1, train_dataloader=loader)
    each = costs(tmp_path / 'each')
    assert each['phases']['full']['batches'] == {'1x64x64': 3, '1x96x96': 2}
    counted = each['phases']['full']['counted']
    assert each['totals']['training_flops'] == sum(
        n * (c['forward'] + c['backward']) for n, c in zip((3, 2), counted.values())
    )
    one = dict(COST, max_shapes=1)
    rig.train(tmp_path / 'one', hooks=[one], epochs=1, train_dataloader=loader)
    flops = costs(tmp_path / 'one')['totals']['training_flops']
    assert flops == pytest.approx(each['totals']['training_flops'], rel=0.05)
    assert flops != each['totals']['training_flops']


def test_memory_and_time_are_there(tmp_path):
    rig.train(tmp_path, hooks=[rig.dbf(2), COST], epochs=2)
    found = costs(tmp_path)
    for phase in found['phases'].values():
        assert phase['step_seconds'] > 0 and phase['data_seconds'] > 0
        assert phase['peak_memory'] > 50 * 2**20
    assert 'process' in found['memory_kind']
    assert found['parts'][0]['ranks'] == 1


@pytest.mark.newer_torch
def test_scalars_and_the_table_at_the_end(tmp_path, capsys):
    # As a default hook, which is how the command line adds it to any config.
    default = dict(logger=dict(type='LoggerHook', interval=1), cost=COST)
    runner = rig.runner(
        tmp_path, hooks=[rig.dbf(2)], epochs=2, log_level='INFO', default_hooks=default
    )
    runner.train()
    (path,) = tmp_path.rglob('vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = costs(tmp_path)
    assert rows[-1]['cost/saving'] == pytest.approx(found['totals']['saving'])
    assert rows[-1]['cost/training_pflops'] == pytest.approx(
        found['totals']['training_flops'] / 1e15
    )
    assert not any('loss' in key for key in rows[-1] if key.startswith('cost/'))
    said = capsys.readouterr().out
    assert 'parameters that train' in said and 'full fine-tuning' in said


# -- training is what it was -----------------------------------------------------------------------

SAME = {
    'full': dict(model=few_regions('faster-rcnn')),
    'frozen, with the second model': dict(
        hooks=[rig.dbf('inf')], model=few_regions('oriented-rcnn')
    ),
    'drop path, phases': dict(
        hooks=[dict(type='Reseed'), rig.dbf(2)],
        model=rig.detector(backbone=rig.swin()),
        optimizer=rig.ADAMW,
    ),
    'drop path, frozen from the start': dict(
        hooks=[
            dict(
                type='FreezingSchedulerHook',
                schedule=dict(type='MilestoneFreezing', train_epochs=[1]),
                frozen_mode='train',
            )
        ],
        model=rig.detector(backbone=rig.swin()),
        optimizer=rig.ADAMW,
        shuffle=True,
    ),
    'amp, accumulation, beside RGN': dict(
        hooks=[rig.dbf(2), dict(type='RGNHook', interval=1)],
        wrapper=dict(type='CpuAmpOptimWrapper', accumulative_counts=2),
    ),
}


@pytest.mark.newer_torch
@pytest.mark.usefixtures('plain_convolutions')
@pytest.mark.parametrize('name', SAME)
def test_not_a_bit_of_training_changes(name, tmp_path):
    case = dict(SAME[name], epochs=2)
    hooks = case.pop('hooks', [])
    with_it = rig.train(tmp_path / 'with', hooks=[*hooks, COST], **case)
    without = rig.train(tmp_path / 'without', hooks=hooks, **case)
    assert with_it.losses == without.losses
    for ours, theirs in zip(with_it.per_iter, without.per_iter):
        assert not rig.equal(ours, theirs)
    assert with_it.trains == without.trains and with_it.in_eval == without.in_eval
    assert costs(tmp_path / 'with')['totals']['training_flops'] > 0
    notes = costs(tmp_path / 'with')['notes']
    assert notes == []


def test_the_model_is_left_as_it_was(tmp_path):
    runner = rig.runner(tmp_path, hooks=[rig.dbf(2), COST], epochs=2)
    hooks = len(runner.model.data_preprocessor._forward_hooks)
    runner.train()
    assert 'train_step' not in runner.model.__dict__
    assert len(runner.model.data_preprocessor._forward_hooks) == hooks
    assert _get_current_dispatch_mode() is None


@HOOKS.register_module(force=True)
class Break(Hook):
    """The first training step fails, in its forward pass."""

    def before_train(self, runner) -> None:
        def fail(*args, **kwargs):
            raise ArithmeticError('broken')

        runner.model.bbox_head.loss = fail


def test_a_step_that_fails_leaves_no_watcher(tmp_path):
    runner = rig.runner(tmp_path, hooks=[COST, dict(type='Break')], epochs=1)
    with pytest.raises(ArithmeticError, match='broken'):
        runner.train()
    assert _get_current_dispatch_mode() is None


# -- restarts --------------------------------------------------------------------------------------

# Phases of rho 3 over 5 epochs of 4 iterations: epochs 0 and 3 train.
KILLS = {
    'in a frozen epoch': dict(kill_at=11, lost=3),
    'in an iteration loop': dict(kill_at=7, iters=12, lost=0),
}


@pytest.mark.newer_torch
@pytest.mark.parametrize('name', KILLS)
def test_killed_and_resumed_equals_uninterrupted(name, tmp_path):
    case = dict(KILLS[name])
    kill_at, lost = case.pop('kill_at'), case.pop('lost')
    hooks = [rig.dbf(3, by_epoch='iters' not in case), dict(COST, interval=1)]
    options = dict({'epochs': 5}, hooks=hooks, model=few_regions('faster-rcnn'), **case)
    rig.train(tmp_path / 'whole', **options)
    part = tmp_path / 'part'
    rig.run(returncode=-9, work_dir=str(part), kill_at=kill_at, **options)
    assert costs(part)['iteration'] == kill_at
    rig.train(part, resume=True, **options)
    whole, resumed = costs(tmp_path / 'whole'), costs(part)
    assert money(resumed) == money(whole)
    assert resumed['lost']['steps'] == lost and (resumed['lost']['flops'] > 0) == bool(lost)
    done = kill_at - lost
    assert [p['iteration'] for p in resumed['parts']] == [0, done]
    assert whole['lost']['steps'] == 0 and len(whole['parts']) == 1


def test_a_finished_run_that_is_resumed_keeps_its_record(tmp_path):
    options = dict(hooks=[rig.dbf(2), COST], epochs=2)
    rig.train(tmp_path, **options)
    before = costs(tmp_path)
    built = rig.runner(tmp_path, resume=True, **options)
    built.train()  # nothing is left to do
    assert money(costs(tmp_path)) == money(before)


def test_a_corrupted_file_is_kept_aside(tmp_path, capsys):
    options = dict(hooks=[rig.dbf(2), COST])
    rig.train(tmp_path, epochs=2, **options)
    (tmp_path / 'cost.json').write_text('{"version": 1, "pha')
    runner = rig.runner(tmp_path, epochs=3, resume=True, **options)
    runner.train()
    (aside,) = tmp_path.glob('cost.corrupt-*.json')
    assert aside.read_text() == '{"version": 1, "pha'
    said = capsys.readouterr().out
    assert 'cannot be read' in said and aside.name in said
    # The checkpoint has a ledger of its own: nothing is missing.
    rig.train(tmp_path / 'whole', epochs=3, **options)
    assert money(costs(tmp_path)) == money(costs(tmp_path / 'whole'))


def test_an_earlier_run_in_the_same_work_dir_is_kept(tmp_path):
    rig.train(tmp_path, hooks=[COST], epochs=1)
    first = (tmp_path / 'cost.json').read_text()
    rig.train(tmp_path, hooks=[COST], epochs=1)
    (aside,) = tmp_path.glob('cost.earlier-*.json')
    assert aside.read_text() == first
    assert costs(tmp_path)['totals']['steps'] == 4 and costs(tmp_path)['lost']['steps'] == 0


def test_killed_before_its_first_checkpoint(tmp_path):
    """Asked to resume there is nothing to resume from, and still it is the same run."""
    options = dict(hooks=[dict(COST, interval=1)], epochs=1)
    rig.train(tmp_path, **options)
    for path in [*tmp_path.glob('*.pth'), tmp_path / 'last_checkpoint']:
        path.unlink()
    rig.train(tmp_path, resume=True, **options)
    found = costs(tmp_path)
    assert found['totals']['steps'] == 4 and found['lost']['steps'] == 4


def test_joining_a_run_underway(tmp_path, capsys):
    rig.train(tmp_path, epochs=1)
    runner = rig.runner(tmp_path, hooks=[COST], epochs=2, resume=True)
    runner.train()
    found = costs(tmp_path)
    assert (found['totals']['steps'], found['unrecorded_steps']) == (4, 4)
    assert 'trained without this hook' in capsys.readouterr().out


# -- without FLOPs ---------------------------------------------------------------------------------


def test_without_torchs_flop_counter_the_rest_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'torch.utils.flop_counter', None)
    runner = rig.runner(tmp_path, hooks=[rig.dbf(2), COST], epochs=2)
    runner.train()
    assert 'no flop counter' in capsys.readouterr().out
    found = costs(tmp_path)
    assert found['totals']['training_flops'] is None and found['totals']['saving'] is None
    assert found['totals']['steps'] == 8 and found['totals']['step_seconds'] > 0
    assert list(found['phases']) == ['full', 'frozen']


@pytest.mark.newer_torch
def test_a_whole_that_cannot_be_counted_does_not_stop_training(tmp_path, monkeypatch):
    def fail(*args):
        raise MemoryError('too large')

    monkeypatch.setattr('mmbackbone_plugins.hooks.training_cost_hook.count_full_step', fail)
    rig.train(tmp_path, hooks=[rig.dbf('inf'), COST], epochs=1)
    found = costs(tmp_path)
    assert found['totals']['saving'] is None and found['totals']['training_flops'] > 0
    assert 'too large' in found['notes'][0]


# -- several ranks ---------------------------------------------------------------------------------


def test_bytes_are_those_that_two_ranks_reduce(tmp_path):
    """With a window of accumulation that cuts epochs, and a wrapper that is rebuilt."""
    hooks = [rig.dbf(2), dict(type='CommunicatedBytes'), dict(COST, interval=1)]
    model = rig.detector(backbone=dict(rig.resnet(), norm_eval=True))
    options = dict(hooks=hooks, model=model, epochs=4, wrapper=dict(accumulative_counts=3))
    ranks = rig.run(2, work_dir=str(tmp_path), **options)
    for ours, theirs in zip(ranks[0]['states'], ranks[1]['states']):
        assert not rig.equal(ours, theirs)
    found = costs(tmp_path)
    sent = dict(full=0, frozen=0)
    most = max(len(names) for names in ranks[0]['trains'])
    for size, names in zip(ranks[0]['bytes'], ranks[0]['trains']):
        sent['full' if len(names) == most else 'frozen'] += size
    assert {n: p['communicated_bytes'] for n, p in found['phases'].items()} == sent
    assert min(sent.values()) > 0 and 0 in ranks[0]['bytes']
    # FLOPs are those of both ranks.
    assert found['phases']['full']['batches'] == {'2x64x64': 2 * 4}
    assert found['parts'][0]['ranks'] == 2
    plan = planned(model, dict(type='StepFreezing', rho=2), 4)
    assert found['totals']['training_flops'] == pytest.approx(8 * plan.training_flops, rel=0.01)


def test_counting_full_fine_tuning_asks_no_other_rank():
    """In real runs: tests/test_distributed. Here that it ends, with an error too."""
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        world = torch.distributed.group.WORLD
        with pytest.raises(RuntimeError), full_reference.without_process_group():
            assert not torch.distributed.is_initialized() and get_world_size() == 1
            raise RuntimeError
        assert torch.distributed.group.WORLD is world
    finally:
        torch.distributed.destroy_process_group()
