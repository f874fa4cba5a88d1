"""RGNHook in real runs: the right gradients at the right time, and training is what it was."""

import json
import math
from pathlib import Path

import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

pytestmark = pytest.mark.usefixtures('plain_convolutions')
AMP = dict(type='CpuAmpOptimWrapper')
FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')


def rgn(**options):
    return dict(type='RGNHook', interval=1, **options)


def lines(folder):
    (path,) = Path(folder).rglob('rgn.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def scalars(folder):
    """Rows of mmengine's own log, of the last start."""
    path = sorted(Path(folder).rglob('vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(tmp_path, name, **options):
    folder = tmp_path / name
    options = dict(dict(hooks=[rgn()], epochs=1), **options)
    record = rig.train(folder, **options)
    return lines(folder), record


def naive(parameters, gradients, eps=1e-8):
    """``'tensor'`` in float64, by the definition."""
    return {
        n: (g.double().norm() / (parameters[n].double().norm() + eps)).item()
        for n, g in gradients.items()
        if n.startswith('backbone.')
    }


def close(ours, theirs, rel):
    assert ours.keys() == theirs.keys() and ours
    assert all(ours[n] == pytest.approx(theirs[n], rel=rel) for n in ours), [
        (n, ours[n], theirs[n]) for n in ours if ours[n] != pytest.approx(theirs[n], rel=rel)
    ][:3]


def by_hand(state, batches, model=None, counts=None):
    """Gradients of the average of the losses of batches, in a plain loop."""
    net = rig.build(model or fixed())
    net.load_state_dict(state)
    net.train()
    scenes = rig.DrawnScenes(8)
    for batch in batches:
        items = [scenes[i] for i in batch]
        data = net.data_preprocessor({k: [item[k] for item in items] for k in items[0]}, True)
        loss, _ = net.parse_losses(net(**data, mode='loss'))
        (loss / len(batches)).backward()
    return dict(net.named_parameters()), {n: p.grad for n, p in net.named_parameters()}


def fixed(**options):
    """Statistics of norm layers stay: gradients of batches can be averaged by hand."""
    return rig.detector(backbone=dict(rig.resnet(**options), norm_eval=True))


# -- the number ------------------------------------------------------------------------------------


def test_every_step_against_a_plain_loop(tmp_path):
    found, record = measured(tmp_path, 'run', model=fixed())
    assert [line['iter'] for line in found] == [1, 2, 3, 4]
    states = [record.states[0], *record.per_iter]
    for i, line in enumerate(found):
        weights, gradients = by_hand(states[i], [[2 * i, 2 * i + 1]])
        close(line['tensors'], naive(weights, gradients), 1e-5)
        for stage, prefix in zip(FIVE[1:], ('layer1', 'layer2', 'layer3', 'layer4')):
            inside = [v for n, v in line['tensors'].items() if n.startswith(f'backbone.{prefix}.')]
            assert line['stages'][stage]['mean'] == pytest.approx(sum(inside) / len(inside))
        assert line['mean'] == pytest.approx(sum(line['tensors'].values()) / len(line['tensors']))
    rows = scalars(tmp_path / 'run')
    assert [row['rgn/mean'] for row in rows] == [line['mean'] for line in found]
    assert [row['rgn/stage3'] for row in rows] == [
        line['stages']['stage3']['mean'] for line in found
    ]


@pytest.mark.parametrize('granularity, fused', [('tensor', False), ('kernel', True)])
def test_across_loss_scales(granularity, fused, tmp_path):
    optimizer = dict(rig.SGD, **(dict(fused=True) if fused else {}))
    options = dict(hooks=[rgn(granularity=granularity)], optimizer=optimizer)
    scales = {'1': 1.0, '1024': 1024.0, 'dynamic': dict(init_scale=2.0**16, growth_interval=1)}
    found = {
        name: measured(tmp_path, name, wrapper=dict(AMP, loss_scale=scale), **options)[0]
        for name, scale in scales.items()
    }
    for name in ('1024', 'dynamic'):  # a dynamic scale that doubles at every step
        for ours, theirs in zip(found[name], found['1']):
            close(ours['tensors'], theirs['tensors'], 1e-3)
    # Against float32, within what autocast to bfloat16 rounds (8 bits), on average.
    plain = measured(tmp_path, 'float32', **options)[0]
    odd = measured(tmp_path, 'odd', wrapper=dict(AMP, loss_scale=1000.0), **options)[0]
    for amp in (found['1024'], odd):
        assert amp[0]['mean'] == pytest.approx(plain[0]['mean'], rel=0.1)


@pytest.mark.parametrize('clip', [dict(max_norm=1e-3), dict(type='value', clip_value=1e-5)])
@pytest.mark.parametrize('amp, fused', [(False, False), (True, True)])
def test_clipping_does_not_touch_it(amp, clip, fused, tmp_path):
    """Exactly: the first measurement, before the runs part."""
    wrapper = AMP if amp else {}
    optimizer = dict(rig.SGD, **(dict(fused=True) if fused else {}))
    plain = measured(tmp_path, 'plain', wrapper=dict(wrapper), optimizer=optimizer)[0]
    options = dict(wrapper=dict(wrapper, clip_grad=dict(clip)), optimizer=optimizer)
    clipped = measured(tmp_path, 'clipped', **options)[0]
    assert clipped[0] == plain[0]
    assert clipped[1]['tensors'] != plain[1]['tensors']


def test_accumulation_is_the_rgn_of_the_averaged_gradients(tmp_path):
    found, record = measured(
        tmp_path, 'run', model=fixed(), wrapper=dict(accumulative_counts=4), epochs=2
    )
    assert [line['iter'] for line in found] == [4, 8]  # and none of a part of a step
    for i in (0, 1):
        batches = [[0, 1], [2, 3], [4, 5], [6, 7]]
        weights, gradients = by_hand(record.states[i], batches)
        close(found[i]['tensors'], naive(weights, gradients), 1e-4)


def test_two_ranks_measure_the_averaged_gradients_and_one_writes(tmp_path):
    ranks = rig.run(2, work_dir=str(tmp_path), hooks=[rgn(), rig.dbf(2)], model=fixed(), epochs=3)
    assert not rig.equal(ranks[0]['states'][-1], ranks[1]['states'][-1])
    found = lines(tmp_path)
    assert [line['iter'] for line in found] == [1, 2, 3, 4, 5, 6]
    # A rank's batches are every second image: ranks 0 and 1 begin with images 0, 2 and 1, 3.
    weights, gradients = by_hand(ranks[0]['states'][0], [[0, 2], [1, 3]])
    close(found[0]['tensors'], naive(weights, gradients), 1e-4)
    assert [bool(line['tensors']) for line in found] == [True, True, False, False, True, True]


# -- training is what it was -----------------------------------------------------------------------

FUSED = dict(rig.SGD, fused=True)
CASES = {
    'adamw-swin': dict(model=rig.detector(backbone=rig.swin()), optimizer=rig.ADAMW),
    'two-stage': dict(model=rig.detector('faster-rcnn')),
    'dbf-ema': dict(model=rig.detector(), hooks=[rig.dbf(2), dict(type='EMAHook', momentum=0.2)]),
    'amp-clip-skips': dict(
        model=rig.detector(), wrapper=dict(AMP, clip_grad=dict(max_norm=0.5)), spoil=[0, 3]
    ),
    'fused': dict(optimizer=FUSED),
    'clip-norm': dict(wrapper=dict(clip_grad=dict(max_norm=0.5))),
    'clip-value': dict(wrapper=dict(clip_grad=dict(type='value', clip_value=1e-3))),
    'accumulate': dict(wrapper=dict(accumulative_counts=3)),
    'amp-odd-scale': dict(wrapper=dict(AMP, loss_scale=1000.0)),
    'amp-clip': dict(wrapper=dict(AMP, clip_grad=dict(max_norm=0.5))),
    'amp-fused-odd-scale': dict(wrapper=dict(AMP, loss_scale=1000.0), optimizer=FUSED),
    'amp-skips': dict(wrapper=dict(AMP), spoil=[1, 2]),
    'amp-fused-skips': dict(wrapper=dict(AMP), optimizer=FUSED, spoil=[1, 2]),
    'iteration-loop': dict(iters=6),
}


@HOOKS.register_module(force=True)
class SpoilLoss(Hook):
    """Makes gradients infinite or NaN at some iterations: of the head, or of a named parameter."""

    def __init__(self, at, name='head', value=math.inf):
        self.at, self.name, self.value = at, name, value

    def before_train(self, runner):
        p = next(p for n, p in rig.model_of(runner).named_parameters() if self.name in n)

        def spoil(grad):
            return torch.full_like(grad, self.value) if runner.iter in self.at else grad

        p.register_hook(spoil)


@pytest.mark.parametrize('name', CASES)
def test_training_is_equal_bit_for_bit(name, tmp_path):
    granularity = ('tensor', 'kernel')[list(CASES).index(name) % 2]
    options = dict(dict(epochs=2, optimizer=rig.SGD, model=rig.THREE), **CASES[name])
    hooks = options.pop('hooks', [])
    spoil = options.pop('spoil', None)
    if spoil:
        hooks = [*hooks, dict(type='SpoilLoss', at=spoil)]

    def run(folder, more):
        wrapper = dict(options.get('wrapper', {}))
        if 'clip_grad' in wrapper:
            wrapper['clip_grad'] = dict(wrapper['clip_grad'])  # mmengine pops its type
        built = rig.runner(folder, hooks=[*hooks, *more], **dict(options, wrapper=wrapper))
        built.train()
        return built

    ours = run(tmp_path / 'with', [dict(type='RGNHook', interval=1, granularity=granularity)])
    theirs = run(tmp_path / 'without', [])
    assert rig.recorder(ours).losses == rig.recorder(theirs).losses
    assert not rig.equal(rig.recorder(ours).states[-1], rig.recorder(theirs).states[-1])
    a, b = ours.optim_wrapper.state_dict(), theirs.optim_wrapper.state_dict()
    assert a.get('loss_scaler') == b.get('loss_scaler')
    for key, state in a['state'].items():
        for what, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b['state'][key][what]))
    for key in ('train/grad_norm', 'train/grad_value'):
        if key in theirs.message_hub.log_scalars:
            logged = [r.message_hub.get_scalar(key).data[0].tolist() for r in (ours, theirs)]
            assert logged[0] == logged[1]
    assert lines(tmp_path / 'with')
    assert 'step' not in ours.optim_wrapper.__dict__


# -- what is not measured --------------------------------------------------------------------------


@pytest.mark.parametrize('fused, clip', [(False, dict(max_norm=1.0)), (True, None)])
def test_a_skipped_step_writes_no_rgn_only_a_counter(fused, clip, tmp_path):
    # No momentum: torch's fused SGD leaves its buffer uninitialised if the first step is skipped.
    optimizer = dict(type='SGD', lr=0.01, **(dict(fused=True) if fused else {}))
    hooks = [dict(type='RGNHook', interval=2), dict(type='SpoilLoss', at=[0, 3, 4])]
    rig.train(
        tmp_path,
        hooks=hooks,
        epochs=2,
        model=rig.THREE,
        wrapper=dict(AMP, clip_grad=clip),
        optimizer=optimizer,
    )
    found = lines(tmp_path)
    # Steps 1, 5 are skipped where a measurement was due: the next step that is taken is measured.
    assert [line['iter'] for line in found] == [2, 3, 6, 7]
    assert [line['skipped_steps'] for line in found] == [1, 1, 3, 3]
    assert all(math.isfinite(line['mean']) and not line['nonfinite'] for line in found)
    assert scalars(tmp_path)[-1]['rgn/skipped_steps'] == 3


def test_a_frozen_epoch_logs_nothing_for_what_is_frozen(tmp_path):
    """Gradual unfreezing: stage by stage, from the deepest; the others are marked, not zero."""
    schedule = dict(type='GradualUnfreezing', start=1, every=1)
    hooks = [dict(type='FreezingSchedulerHook', schedule=schedule), rgn()]
    record = rig.train(tmp_path, hooks=hooks, epochs=3, model=fixed())
    found, rows = lines(tmp_path), scalars(tmp_path)
    assert len(found) == len(rows) == 12
    states = [record.states[0], *record.per_iter]
    for i, (line, row) in enumerate(zip(found, rows)):
        train = FIVE[5 - i // 4 :] if i // 4 else ()
        for stage in FIVE:
            if stage in train:
                assert row[f'rgn/{stage}'] == line['stages'][stage]['mean'] > 0
            else:
                assert line['stages'][stage] == 'frozen' and f'rgn/{stage}' not in row
        assert ('rgn/mean' in row) == bool(train) and (line['mean'] is None) == (not train)
        weights, gradients = by_hand(states[i], [[2 * (i % 4), 2 * (i % 4) + 1]])
        expected = naive(weights, gradients)
        trained = tuple(f'backbone.layer{s[-1]}.' for s in train) or ('none',)
        expected = {n: v for n, v in expected.items() if n.startswith(trained)}
        if train:
            close(line['tensors'], expected, 1e-5)
        else:
            assert line['tensors'] == {}


def test_the_value_of_an_earlier_phase_leaves_the_log(tmp_path):
    """Between measurements too: the interval is longer than the trained epoch."""
    rig.train(tmp_path, hooks=[rig.dbf(2), dict(type='RGNHook', interval=100)], epochs=3)
    rows = scalars(tmp_path)
    assert ['rgn/stage2' in row for row in rows] == [True] * 4 + [False] * 8
    assert ['rgn/mean' in row for row in rows] == [True] * 4 + [False] * 8


def test_own_frozen_stages(tmp_path):
    found, _ = measured(tmp_path, 'run', model=fixed(frozen_stages=1))
    for line in found:
        assert line['stages']['stem'] == line['stages']['stage1'] == 'frozen'
    assert not any(n.startswith(('backbone.conv1', 'backbone.layer1')) for n in found[0]['tensors'])


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_without_a_scaler_nan_and_inf_are_reported(value, tmp_path):
    name = 'backbone.layer2.0.conv1.weight'
    hooks = [rgn(), dict(type='SpoilLoss', at=[2], name=name, value=value)]
    built = rig.runner(tmp_path, hooks=hooks, epochs=1)
    messages = rig.listen_to(built)
    built.train()
    found = lines(tmp_path)
    assert len(found) == 4
    assert found[2]['nonfinite'] == [name]
    for number in (found[2]['mean'], found[2]['median'], found[2]['stages']['stage2']['mean']):
        assert math.isnan(number) if math.isnan(value) else number == math.inf
    assert math.isfinite(found[2]['stages']['stage3']['mean'])
    assert not math.isfinite(scalars(tmp_path)[2]['rgn/stage2'])
    (text,) = [m for m in messages if 'iteration 3,' in m]
    assert 'NaN or Inf' in text and 'stage2' in text and name in text


@pytest.mark.parametrize('epochs', [1, 3])
def test_a_target_that_never_has_a_gradient_says_so_once(epochs, tmp_path):
    schedule = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    built = rig.runner(tmp_path, hooks=[schedule, rgn()], epochs=epochs, model=rig.THREE)
    messages = rig.listen_to(built)
    built.train()
    said = [m for m in messages if m.startswith('RGNHook: target=')]
    assert len(said) == 1 and "'backbone' had no gradient" in said[0]
    assert all(line['mean'] is None for line in lines(tmp_path))


# -- when ------------------------------------------------------------------------------------------


def test_interval_counts_optimizer_steps(tmp_path):
    hooks = [dict(type='RGNHook', interval=3)]
    found, _ = measured(tmp_path, 'plain', hooks=hooks, epochs=2, model=rig.THREE)
    assert [line['iter'] for line in found] == [1, 4, 7]
    options = dict(hooks=hooks, epochs=4, wrapper=dict(accumulative_counts=2), model=rig.THREE)
    found, _ = measured(tmp_path, 'accumulated', **options)
    assert [line['iter'] for line in found] == [2, 8, 14]


def test_a_resume_from_an_earlier_checkpoint_loses_no_line(tmp_path):
    rig.train(tmp_path, hooks=[rgn()], epochs=3, model=rig.THREE)
    first = lines(tmp_path)
    rig.train(
        tmp_path,
        hooks=[rgn()],
        epochs=3,
        model=rig.THREE,
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
        experiment_name='again',
    )
    assert lines(tmp_path) == first
    (old,) = tmp_path.rglob('rgn.jsonl.superseded')
    assert [json.loads(text) for text in old.read_text().splitlines()] == first[4:]


def test_a_fresh_run_in_the_same_folder_begins_a_file_of_its_own(tmp_path):
    built = [rig.runner(tmp_path, hooks=[rgn()], epochs=1, model=rig.THREE) for _ in range(2)]
    for i, run in enumerate(built):
        run._log_dir = f'{run.log_dir}_{i}'  # the folders are named by the second
        Path(run.log_dir).mkdir()
        run.train()
    assert len(list(tmp_path.rglob('rgn.jsonl'))) == 2


def test_two_optimizers_of_a_model_that_steps_by_itself(tmp_path):
    rig.train(tmp_path, hooks=[dict(type='RGNHook', interval=2)], epochs=1, **rig.TWO_OPTIMIZERS)
    found = lines(tmp_path)
    assert [line['iter'] for line in found] == [1, 3]
    assert set(found[0]['tensors']) == {
        f'backbone.{i}.{k}' for i in '01' for k in ('weight', 'bias')
    }


def test_a_target_over_two_optimizers_is_measured_as_one(tmp_path):
    hooks = [dict(type='RGNHook', interval=1, target=['backbone', 'head'])]
    rig.train(tmp_path, hooks=hooks, epochs=1, **rig.TWO_OPTIMIZERS)
    found = lines(tmp_path)
    assert [line['iter'] for line in found] == [1, 2, 3, 4] and len(found[0]['tensors']) == 6


def test_two_hooks_in_one_run(tmp_path):
    hooks = [rgn(), rgn(target='neck', granularity='kernel')]
    rig.train(tmp_path, hooks=hooks, epochs=1)
    assert len(lines(tmp_path)) == 4
    (second,) = tmp_path.rglob('rgn-neck.jsonl')
    assert json.loads(second.read_text().splitlines()[0])['granularity'] == 'kernel'
    assert {'rgn/mean', 'rgn-neck/mean'} <= set(scalars(tmp_path)[-1])


def test_added_blocks_are_measured_but_not_in_the_mean(tmp_path):
    """They start at zero: a norm relative to theirs is a number without a meaning."""
    blocks = rig.detector('retinanet', rig.with_blocks(rig.resnet()))
    frozen = dict(type='FreezingSchedulerHook', schedule=dict(type='ProbeThenFinetune', probe=1))
    found, _ = measured(tmp_path, 'blocks', model=blocks, hooks=[rgn(), frozen], epochs=2)
    probing, free = found[0], found[-1]
    assert probing['mean'] is None and probing['stages']['stage1'] == 'frozen'
    assert probing['stages']['stage1.block']['mean'] > 0
    own = {n: v for n, v in free['tensors'].items() if '.block' not in n}
    assert 0 < len(own) < len(free['tensors'])
    assert free['mean'] == pytest.approx(sum(own.values()) / len(own))
    assert free['mean'] != pytest.approx(sum(free['tensors'].values()) / len(free['tensors']))


# -- bad input -------------------------------------------------------------------------------------


def test_an_unknown_target_stops_before_training(tmp_path):
    with pytest.raises(ValueError, match="target 'backbne' does not exist.*nearest: backbon"):
        rig.train(tmp_path, hooks=[rgn(target='backbne')], epochs=1)
    assert not list(tmp_path.rglob('*.pth'))
