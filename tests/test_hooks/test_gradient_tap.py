"""The one place that reaches between backward and step: the right moment, and no trace."""

import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from mmbackbone_plugins.hooks.gradient_tap import GradientListener, listen, tapped_wrappers

AMP = dict(type='CpuAmpOptimWrapper')


@HOOKS.register_module(force=True)
class Listener(Hook, GradientListener):
    """Keeps what a tap tells, gradients unscaled."""

    def __init__(self):
        self.calls, self.early, self.late, self.skips = [], [], [], []

    def before_train(self, runner):
        self.names = {id(p): n for n, p in rig.model_of(runner).named_parameters()}
        self.taps = [listen(w, self) for w in tapped_wrappers(runner, 'Listener')]

    def gradients(self, wrapper, scale):
        held = [p for g in wrapper.optimizer.param_groups for p in g['params']]
        unscale = 1.0 if scale is None else 1.0 / scale
        return {self.names[id(p)]: p.grad * unscale for p in held if p.grad is not None}

    def on_gradients(self, wrapper, scale):
        self.calls.append('gradients')
        self.early.append(self.gradients(wrapper, scale))

    def on_step(self, wrapper, scale):
        self.calls.append('step')
        self.late.append(self.gradients(wrapper, scale))

    def after_step(self, wrapper, skipped):
        self.calls.append('after')
        self.skips.append(bool(skipped > 0) if torch.is_tensor(skipped) else skipped)

    def after_train(self, runner):
        for tap in self.taps:
            tap.remove(self)


def run(tmp_path, hooks=(), **options):
    options = dict(dict(model=rig.THREE, epochs=1), **options)
    built = rig.runner(tmp_path, hooks=[dict(type='Listener'), *hooks], **options)
    built.train()
    return built, next(h for h in built.hooks if isinstance(h, Listener))


CASES = {
    'plain': dict(),
    'clip-norm': dict(clip_grad=dict(max_norm=0.01)),
    'clip-value': dict(clip_grad=dict(type='value', clip_value=1e-4)),
    'amp': AMP,
    'amp-clip-norm': dict(AMP, clip_grad=dict(max_norm=0.01)),
    'amp-clip-value': dict(AMP, clip_grad=dict(type='value', clip_value=1e-4)),
}


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_before_and_after_clipping(name, fused, tmp_path):
    """Before: the same gradients with and without clipping. After: clipped ones."""
    plain = dict(AMP) if 'amp' in name else dict()
    optimizer = dict(rig.SGD, **(dict(fused=True) if fused else {}))
    _, reference = run(tmp_path / 'reference', wrapper=plain, optimizer=optimizer)
    built, found = run(tmp_path / 'clipped', wrapper=dict(CASES[name]), optimizer=optimizer)
    assert found.calls == ['gradients', 'step', 'after'] * 4 and not any(found.skips)
    assert not rig.equal(reference.early[0], found.early[0])
    first, late = found.early[0], found.late[0]
    assert len(first) == 6
    if 'norm' in name:
        total = torch.linalg.vector_norm(torch.stack([g.norm() for g in late.values()]))
        assert total.item() == pytest.approx(0.01, rel=1e-4)
    elif 'value' in name:
        assert max(g.abs().max().item() for g in late.values()) == pytest.approx(1e-4)
    else:
        assert not rig.equal(first, late)
    # Nothing of the tap is left.
    assert 'step' not in built.optim_wrapper.__dict__
    assert not built.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_accumulated_gradients_are_complete(tmp_path):
    """Four batches of two, summed up by hand at the weights of the start."""
    built, found = run(tmp_path, wrapper=dict(accumulative_counts=4), model=fixed())
    assert found.calls == ['gradients', 'step', 'after']
    net = built.model
    net.load_state_dict(rig.recorder(built).states[0])
    net.train()
    net.zero_grad()
    scenes = rig.DrawnScenes(8)
    for step in range(4):
        items = [scenes[2 * step + i] for i in range(2)]
        data = net.data_preprocessor({k: [item[k] for item in items] for k in items[0]}, True)
        loss, _ = net.parse_losses(net(**data, mode='loss'))
        (loss / 4).backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(found.early[0][name], p.grad, rtol=1e-5, atol=1e-9)


def fixed():
    return rig.detector(backbone=dict(rig.resnet(), norm_eval=True))


@HOOKS.register_module(force=True)
class Spoil(Hook):
    """Makes a gradient of the head infinite at some iterations, through a hook of torch."""

    def __init__(self, at):
        self.at = at

    def before_train(self, runner):
        head = next(p for n, p in rig.model_of(runner).named_parameters() if 'head' in n)

        def spoil(grad):
            return torch.full_like(grad, float('inf')) if runner.iter in self.at else grad

        head.register_hook(spoil)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
@pytest.mark.parametrize('fused', [False, True])
def test_a_skipped_step_is_known_as_such(clip, fused, tmp_path):
    optimizer = dict(rig.SGD, **(dict(fused=True) if fused else {}))
    _, found = run(
        tmp_path,
        [dict(type='Spoil', at=[1, 2])],
        wrapper=dict(AMP, clip_grad=clip),
        optimizer=optimizer,
    )
    assert found.skips == [False, True, True, False]
    assert found.calls.count('gradients') == 4
    assert found.calls.count('step') == (4 if fused else 2)


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_what_is_added_right_before_the_step_takes_effect_unclipped(name, fused, tmp_path):
    """The moment of the penalty: plain SGD must move by the rate times what was added."""
    optimizer = dict(type='SGD', lr=0.5, **(dict(fused=True) if fused else {}))
    wrapper = dict(CASES[name])
    built = rig.runner(tmp_path, model=rig.THREE, epochs=1, wrapper=wrapper, optimizer=optimizer)

    class Push(GradientListener):
        def on_step(self, wrapper, scale):
            for group in wrapper.optimizer.param_groups:
                for p in group['params']:
                    if p.grad is not None:
                        p.grad.fill_(0.25 if scale is None else 0.25 * float(scale))

    @HOOKS.register_module(force=True)
    class Pusher(Hook):
        def before_train(self, runner):
            listen(runner.optim_wrapper, Push())

    built.register_hook(Pusher())
    built.train()
    states = rig.recorder(built)
    name = 'backbone.0.weight'
    moved = states.states[0][name] - states.per_iter[0][name]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.125))


def test_two_listeners_share_a_tap_and_leave_in_any_order(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    first, second = Listener(), Listener()
    first.names = second.names = {id(parameter): 'p'}
    for order in ((first, second), (second, first)):
        taps = [listen(wrapper, first), listen(wrapper, second)]
        assert taps[0] is taps[1]
        wrapper.update_params(parameter.sum())
        for listener in order:
            taps[0].remove(listener)
        assert 'step' not in wrapper.__dict__
        assert not wrapper.optimizer._optimizer_step_pre_hooks
    wrapper.update_params(parameter.sum())
    assert len(first.early) == len(second.early) == 2


def test_a_step_that_somebody_else_has_replaced_comes_back(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    calls, original = [], wrapper.step

    def theirs(**kwargs):
        calls.append(1)
        original(**kwargs)

    wrapper.step = theirs
    listener = Listener()
    listener.names = {id(parameter): 'p'}
    tap = listen(wrapper, listener)
    wrapper.update_params(parameter.sum())
    assert calls == [1] and listener.calls == ['gradients', 'step', 'after']
    tap.remove(listener)
    assert wrapper.step is theirs


def test_several_optimizers_of_a_model_that_steps_by_itself(tmp_path):
    built, found = run(tmp_path, **rig.TWO_OPTIMIZERS)
    assert found.calls == ['gradients', 'step', 'after'] * 8
    assert set(found.early[0]) == {'head.weight', 'head.bias'}
    assert set(found.early[1]) == {f'backbone.{i}.{k}' for i in '01' for k in ('weight', 'bias')}
    for wrapper in built.optim_wrapper.values():
        assert 'step' not in wrapper.__dict__


def test_runners_that_shard_gradients_are_refused(tmp_path):
    built = rig.runner(tmp_path)
    built.strategy = object()
    with pytest.raises(ValueError, match='RGNHook: Runner with strategy=object is not supported'):
        list(tapped_wrappers(built, 'RGNHook'))


def test_a_wrapper_of_another_kind_is_refused(tmp_path):
    built = rig.runner(tmp_path)
    built.optim_wrapper = object()
    with pytest.raises(ValueError, match='RGNHook: optim_wrapper: object is not an OptimWrapper'):
        list(tapped_wrappers(built, 'RGNHook'))


def test_sharded_parameters_are_refused(tmp_path):
    class FullyShardedDataParallel(torch.nn.Module):
        pass

    built = rig.runner(tmp_path)
    built.model.head = FullyShardedDataParallel()
    with pytest.raises(ValueError, match='shards or flattens parameters'):
        list(tapped_wrappers(built, 'RGNHook'))
