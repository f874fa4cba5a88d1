"""The hook in real runs of real detectors: what is frozen does not move by a bit, the rest does."""

import json
from pathlib import Path

import pytest
import rig
import torch

FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')


def moved(before, after, inside):
    names = [k for k in before if k.startswith('backbone.') == inside]
    changed = set(rig.equal(before, after))
    return {k for k in names if k in changed}, set(names)


def assert_frozen_then_trained(states, trained):
    """`states` at the start and after every epoch; `trained[e]`: the backbone trains in epoch e."""
    for epoch, (before, after) in enumerate(zip(states, states[1:])):
        changed, names = moved(before, after, inside=True)
        if trained[epoch]:
            weights = {n for n in names if n.endswith('weight')}
            assert weights and weights <= changed, epoch
        else:
            assert not changed, (epoch, sorted(changed)[:3])
        changed, names = moved(before, after, inside=False)
        assert changed == names, (epoch, sorted(names - changed)[:3])


CASES = {
    'accumulation-over-the-boundary': dict(wrapper=dict(accumulative_counts=3)),
    'ema-clip-value': dict(
        hooks=[dict(type='EMAHook', momentum=0.2)],
        validate=True,
        wrapper=dict(clip_grad=dict(type='value', clip_value=0.1)),
    ),
    'ema-of-buffers-clip-norm': dict(
        hooks=[dict(type='EMAHook', momentum=0.2, update_buffers=True)],
        validate=True,
        wrapper=dict(clip_grad=dict(max_norm=1.0)),
    ),
    'amp-clip': dict(wrapper=dict(type='CpuAmpOptimWrapper', clip_grad=dict(max_norm=1.0))),
    'checkpointing': dict(model=rig.detector(backbone=rig.resnet(with_cp=True))),
    'swin': dict(model=rig.detector(backbone=rig.swin()), optimizer=rig.ADAMW),
    'swin-checkpointing': dict(
        model=rig.detector(backbone=rig.swin(with_cp=True)), optimizer=rig.ADAMW
    ),
    'convnext': dict(model=rig.detector(backbone=rig.convnext()), optimizer=rig.ADAMW),
    'two-stage': dict(model=rig.detector('faster-rcnn')),
    'mmrotate-two-stage-adamw': dict(model=rig.detector('oriented-rcnn'), optimizer=rig.ADAMW),
}


@pytest.mark.usefixtures('plain_convolutions')  # for those with mixed precision
@pytest.mark.parametrize('name', CASES)
def test_a_frozen_span_changes_no_bit_of_the_target(name, tmp_path):
    case = dict(CASES[name])
    hooks = [rig.dbf(3), *case.pop('hooks', [])]
    record = rig.train(tmp_path, hooks=hooks, epochs=4, **case)
    assert_frozen_then_trained(record.states, [e % 3 == 0 for e in range(4)])
    for iteration, (trains, sleeps) in enumerate(zip(record.trains, record.in_eval)):
        frozen = (iteration // 4) % 3 != 0
        assert any(n.startswith('backbone.') for n in trains) != frozen
        assert any(n.startswith('backbone.') for n in sleeps) == frozen


@pytest.mark.parametrize(
    'case, schedule',
    [
        ('accumulation-over-the-boundary', dict(type='FullTraining')),
        ('swin', dict(type='StepFreezing', rho=1)),
        ('two-stage', dict(type='ProbeThenFinetune', probe=0)),
        ('mmrotate-two-stage-adamw', dict(type='MilestoneFreezing', train_epochs=[0, 1])),
    ],
)
def test_training_everything_equals_no_hook_bit_for_bit(case, schedule, tmp_path):
    options = dict(CASES[case], epochs=2)
    hook = dict(type='FreezingSchedulerHook', schedule=schedule)
    with_hook = rig.train(tmp_path / 'with', hooks=[hook], **options)
    without = rig.train(tmp_path / 'without', **options)
    assert with_hook.losses == without.losses
    assert not rig.equal(with_hook.states[-1], without.states[-1])


@pytest.mark.parametrize('case', ['two-stage', 'mmrotate-two-stage-adamw'])
def test_an_unfrozen_epoch_in_between_equals_plain_training_from_there(case, tmp_path):
    """Epoch 2 of rho 2 against a run without the hook, resumed from the end of epoch 1."""
    options = dict(CASES[case])
    seeds = dict(type='Reseed')
    scheduled = rig.train(tmp_path / 'dbf', hooks=[rig.dbf(2), seeds], epochs=3, **options)
    plain = rig.runner(
        tmp_path / 'plain',
        hooks=[seeds],
        epochs=3,
        load_from=str(tmp_path / 'dbf' / 'epoch_2.pth'),
        resume=True,
        **options,
    )
    plain.train()
    record = rig.recorder(plain)
    assert not rig.equal(record.states[0], scheduled.states[2])
    assert not rig.equal(record.states[-1], scheduled.states[3])


def test_a_frozen_epoch_equals_training_the_rest_by_hand(tmp_path):
    """The same epoch in a plain loop in which the backbone is in eval under ``no_grad``."""
    record = rig.train(
        tmp_path / 'hook',
        hooks=[dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))],
        epochs=1,
    )
    built = rig.runner(tmp_path / 'hand', epochs=1)
    model = built.model
    model.init_weights()
    model.load_state_dict(record.states[0])
    model.train()
    model.backbone.eval()
    forward = model.backbone.forward
    model.backbone.forward = torch.no_grad()(forward)
    rest = [p for n, p in model.named_parameters() if not n.startswith('backbone.')]
    optimizer = torch.optim.SGD(rest, lr=0.01, momentum=0.9, weight_decay=1e-3)
    for batch in built.build_dataloader(built._train_dataloader):
        data = model.data_preprocessor(batch, training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not rig.equal(dict(model.state_dict()), record.states[-1])


def test_an_iteration_loop_keeps_modes_against_train_before_every_iteration(tmp_path):
    record = rig.train(
        tmp_path,
        hooks=[rig.dbf(3, by_epoch=False)],
        iters=7,
        model=rig.detector(backbone=rig.swin()),
    )
    states = [record.states[0], *record.per_iter]
    assert_frozen_then_trained(states, [i % 3 == 0 for i in range(7)])
    for iteration, sleeps in enumerate(record.in_eval):
        assert any('drop' in n for n in sleeps) == (iteration % 3 != 0)


def test_an_epoch_loop_with_a_schedule_by_iteration(tmp_path):
    """Phases of 1 and 2 iterations cross epochs of 4; validation in between changes nothing."""
    record = rig.train(
        tmp_path,
        hooks=[rig.dbf(3, by_epoch=False)],
        epochs=2,
        validate=True,
        model=rig.detector(backbone=dict(rig.resnet(frozen_stages=0), norm_eval=True)),
    )
    plain_modes = rig.train(
        tmp_path / 'plain',
        epochs=1,
        model=rig.detector(backbone=dict(rig.resnet(frozen_stages=0), norm_eval=True)),
    ).in_eval[0]
    assert len(record.in_eval) == 8
    for iteration, (trains, sleeps) in enumerate(zip(record.trains, record.in_eval)):
        if iteration % 3:
            assert not any(n.startswith('backbone.') for n in trains)
            assert 'backbone.layer4.0.conv1' in sleeps
        else:
            assert sleeps == plain_modes
            assert 'backbone.layer1.0.conv1.weight' in trains
            assert 'backbone.conv1.weight' not in trains


@pytest.mark.parametrize('norm_eval, with_cp', [(False, True), (True, False)])
def test_frozen_stages_of_the_backbone_stay_frozen_in_every_phase(norm_eval, with_cp, tmp_path):
    backbone = dict(rig.resnet(frozen_stages=1, with_cp=with_cp), norm_eval=norm_eval)
    record = rig.train(
        tmp_path, hooks=[rig.dbf(2)], epochs=3, model=rig.detector(backbone=backbone)
    )
    for name in ('conv1', 'bn1', 'layer1'):
        assert not rig.equal(record.states[0], record.states[-1], f'backbone.{name}')
    first = rig.equal(record.states[0], record.states[1], 'backbone.layer3')
    assert any(n.endswith('conv1.weight') for n in first)
    assert any(n.endswith('running_mean') for n in first) != norm_eval
    assert not rig.equal(record.states[1], record.states[2], 'backbone.')


def test_own_frozen_stages_of_swin_are_settled_before_the_schedule_looks(tmp_path):
    """mmdet's Swin freezes its stages in ``train()`` only, after the optimizer is built."""
    model = rig.detector(backbone=rig.swin(frozen_stages=2))
    record = rig.train(tmp_path, hooks=[rig.dbf(2)], epochs=3, model=model, log_level='INFO')
    log = next(tmp_path.glob('*/*.log')).read_text()
    states = [line.split()[3:5] for line in log.splitlines() if line.startswith('stage')]
    assert states[1:] == [['kept', 'frozen']] * 2 + [['yes', 'train']] * 2
    for stage in ('patch_embed', 'stages.0', 'stages.1'):
        assert not rig.equal(record.states[0], record.states[-1], f'backbone.{stage}')
    assert rig.equal(record.states[0], record.states[1], 'backbone.stages.2')


@pytest.mark.parametrize('mode', ['eval', 'norm_eval', 'train'])
def test_frozen_modes(mode, tmp_path):
    """'train' lets the statistics of norm layers go on, as in the DBF authors' code."""
    record = rig.train(tmp_path, hooks=[rig.dbf(2, frozen_mode=mode)], epochs=2)
    changed = rig.equal(record.states[1], record.states[2], 'backbone.')
    if mode == 'train':
        assert changed and all('running_' in n or 'num_batches' in n for n in changed)
    else:
        assert not changed


def test_gradual_unfreezing(tmp_path):
    schedule = dict(type='GradualUnfreezing', start=1, every=1)
    record = rig.train(
        tmp_path, hooks=[dict(type='FreezingSchedulerHook', schedule=schedule)], epochs=4
    )
    parts = ('conv1', 'layer1', 'layer2', 'layer3', 'layer4')
    for epoch in range(4):
        before, after = record.states[epoch], record.states[epoch + 1]
        trained = [bool(rig.equal(before, after, f'backbone.{p}.')) for p in parts]
        assert trained == [False] * (5 - epoch) + [True] * epoch


@pytest.mark.parametrize('target', ['neck', ['backbone', 'neck'], 'backbone.layer3'])
def test_any_part_can_be_the_target(target, tmp_path):
    record = rig.train(tmp_path, hooks=[rig.dbf(2, target=target)], epochs=2)
    changed = set(rig.equal(record.states[1], record.states[2]))
    prefixes = tuple(f'{t}.' for t in ([target] if isinstance(target, str) else target))
    assert not any(n.startswith(prefixes) for n in changed)
    rest = {n for n in record.states[0] if not n.startswith(prefixes)}
    assert {n for n in rest if n.endswith('weight')} <= changed


@pytest.mark.parametrize('reset', ['none', 'momentum', 'all'])
def test_momentum_after_a_frozen_span(reset, tmp_path):
    """The buffer survives the span, or is forgotten; the first step back shows which."""
    hook = rig.dbf(2, reset_optimizer_state=reset)
    built = rig.runner(tmp_path, hooks=[hook], epochs=3, model=rig.THREE)
    weight = built.model.backbone[0].weight
    buffers, gradients = {}, {}

    def look(optimizer, args, kwargs):
        state = optimizer.state.get(weight, {})
        buffers[built.iter] = state.get('momentum_buffer', torch.zeros(1)).clone()
        gradients[built.iter] = weight.grad

    built.optim_wrapper = built.build_optim_wrapper(built.optim_wrapper)
    built.optim_wrapper.optimizer.register_step_pre_hook(look)
    built.train()
    assert buffers[4].abs().sum() > 0 and all(gradients[i] is None for i in range(4, 8))
    assert torch.equal(buffers[4], buffers[7])
    if reset == 'none':
        assert torch.equal(buffers[8], buffers[7])
    else:
        assert buffers[8].abs().sum() == 0


def test_a_reset_happens_at_a_resumed_boundary_too(tmp_path):
    hooks = [rig.dbf(2, reset_optimizer_state='all')]
    whole = rig.train(tmp_path, hooks=hooks, epochs=3)
    again = rig.runner(
        tmp_path / 'again',
        hooks=hooks,
        epochs=3,
        load_from=str(tmp_path / 'epoch_2.pth'),
        resume=True,
    )
    again.train()
    assert not rig.equal(rig.recorder(again).states[-1], whole.states[-1])


def test_logs(tmp_path):
    """One line a change of phase, and scalars in every line of the log."""
    built = rig.runner(tmp_path, hooks=[rig.dbf(2)], epochs=4, log_level='INFO')
    built.train()
    # The model is left as it was found.
    assert all(p.requires_grad for p in built.model.parameters())
    assert all(m.training for m in built.model.modules())
    log = next(Path(tmp_path).glob('*/*.log')).read_text()
    changes = [line for line in log.splitlines() if 'stages of' in line]
    assert len(changes) == 4
    assert 'epoch 1, iteration 0' in changes[0] and 'train: all' in changes[0]
    assert 'epoch 2, iteration 4' in changes[1] and 'train: none' in changes[1]
    total = sum(p.numel() for p in built.model.parameters())
    rest = sum(p.numel() for n, p in built.model.named_parameters() if 'backbone' not in n)
    assert f'{rest:,} of {total:,} parameters train' in changes[1]
    assert 'stage4' in log and 'model' in log
    lines = next(Path(tmp_path).glob('*/vis_data/scalars.json')).read_text().splitlines()
    scalars = [json.loads(line) for line in lines]
    assert len(scalars) == 16
    for number, line in enumerate(scalars):
        frozen = (number // 4) % 2 == 1
        assert line['freezing/trainable_stages'] == (0 if frozen else 5)
        assert line['freezing/trainable_ratio'] == pytest.approx(rest / total if frozen else 1.0)


def test_optim_wrapper_dict(tmp_path):
    record = rig.train(
        tmp_path, hooks=[rig.dbf(2, reset_optimizer_state='all')], epochs=4, **rig.TWO_OPTIMIZERS
    )
    for epoch in range(4):
        changed = rig.equal(record.states[epoch], record.states[epoch + 1])
        assert any(n.startswith('backbone') for n in changed) == (epoch % 2 == 0)
        assert any(n.startswith('head') for n in changed)


def test_ema_copy_goes_on_approaching_the_live_model(tmp_path):
    """Documented: in a frozen span the live backbone stands still, its average does not."""
    hooks = [rig.dbf(4), dict(type='EMAHook', momentum=0.2)]
    built = rig.runner(tmp_path, hooks=hooks, epochs=3, model=rig.THREE)
    ema = next(h for h in built.hooks if type(h).__name__ == 'EMAHook')
    distances = []
    inner = ema.after_train_iter

    def after(runner, *args, **kwargs):
        inner(runner, *args, **kwargs)
        average = dict(ema.ema_model.module.named_parameters())['backbone.0.weight']
        distances.append(float((average - runner.model.backbone[0].weight).norm()))

    ema.after_train_iter = after
    built.train()
    frozen = distances[4:]
    assert frozen[0] > 0 and all(b < a for a, b in zip(frozen, frozen[1:]))
