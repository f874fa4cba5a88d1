"""Runs in which frozen stages go forward in another form: near the exact run, and else the same."""

import gc
import json
import weakref

import pytest
import rig
import torch
import torch._dynamo  # while torch.compile is its own: the import uses it

from mmbackbone_plugins import FrozenForward

FOLDED = dict(frozen_forward='folded')


def losses_near(found, exact, bound):
    found, exact = torch.tensor(found), torch.tensor(exact)
    return bool(((found - exact).abs() / exact).max() < bound) and found.tolist() != exact.tolist()


def decoder_error(found, exact):
    names = [n for n in exact if not n.startswith('backbone.') and exact[n].is_floating_point()]
    return max(float((found[n] - exact[n]).norm() / exact[n].norm().clamp(min=0.1)) for n in names)


@pytest.mark.usefixtures('plain_convolutions')
def test_a_hundred_steps_are_near_the_exact_ones_and_the_target_stays(tmp_path):
    runs = {}
    for how in ('exact', 'folded', 'bf16'):
        hook = rig.dbf('inf', frozen_forward=how)
        runs[how] = rig.train(tmp_path / how, hooks=[hook], epochs=5, length=40)
        assert not rig.equal(runs[how].states[0], runs[how].states[-1], 'backbone.')
    exact = runs['exact']
    assert len(exact.losses) == 100
    assert exact.states[-1].keys() == runs['bf16'].states[-1].keys()
    assert losses_near(runs['folded'].losses, exact.losses, 1e-4)
    assert decoder_error(runs['folded'].states[-1], exact.states[-1]) < 1e-4
    # Rounding of half precision grows with the steps, as any other noise does.
    assert losses_near(runs['bf16'].losses[:20], exact.losses[:20], 0.01)


def test_a_real_r50_trains_within_the_bound(tmp_path):
    model = rig.detector(backbone=dict(rig.resnet(frozen_stages=1), depth=50, base_channels=64))
    model['neck'].update(in_channels=[256, 512, 1024, 2048])
    runs = [
        rig.train(tmp_path / how, hooks=[rig.dbf('inf', frozen_forward=how)], model=model, epochs=1)
        for how in ('exact', 'folded')
    ]
    assert 0 < decoder_error(runs[1].states[-1], runs[0].states[-1]) < 1e-5
    assert not rig.equal(runs[1].states[0], runs[1].states[-1], 'backbone.')


def test_trained_and_frozen_epochs_with_ema_validation_and_hooks(tmp_path):
    """What is measured outside of the steps, and what trains, is as in an exact run."""
    hooks = [
        dict(type='EMAHook', momentum=0.2),
        dict(type='EigenspectrumHook', interval=1, num_batches=1),
        dict(type='DriftHook', num_images=2),
    ]
    runs = []
    for how in ('exact', 'folded'):
        hook = rig.dbf(2, frozen_forward=how)
        built = rig.runner(tmp_path / how, hooks=[hook, *hooks], epochs=3, validate=True)
        said = rig.listen_to(built)
        built.train()
        runs.append(rig.recorder(built))
        model = rig.model_of(built)
        assert not any('forward' in vars(m) for m in model.modules())
        texts = [text for text in said if 'frozen_forward' in text and 'norms' in text]
        assert len(texts) == (how == 'folded')
    exact, folded = runs
    assert folded.losses[:5] == exact.losses[:4] + folded.losses[4:5]
    assert losses_near(folded.losses, exact.losses, 1e-4)
    for states in (folded.states, exact.states):
        assert not rig.equal(states[1], states[2], 'backbone.')
    assert not rig.equal(exact.states[1], folded.states[1])
    paths = [next((tmp_path / how).rglob('eigen.jsonl')) for how in ('exact', 'folded')]
    exact_lines, lines = [[json.loads(x) for x in p.read_text().splitlines()] for p in paths]
    assert len(lines) == 4
    # Through the backbone alone, in the epochs before a folded one: nothing has rounded yet.
    layers = [name for name in lines[0]['layers'] if name.startswith('backbone')]
    for line, other in zip(lines[:2], exact_lines):
        assert [line['layers'][n] for n in layers] == [other['layers'][n] for n in layers] != []
    kept = [
        torch.load(tmp_path / h / 'epoch_2.pth', weights_only=False) for h in ('exact', 'folded')
    ]
    for key in ('state_dict', 'ema_state_dict'):
        assert kept[0][key].keys() == kept[1][key].keys()


@pytest.mark.newer_torch
def test_compiled_in_two_phases_and_after_each_of_them_gone(tmp_path, monkeypatch):
    copies = []

    def compile_(module, **options):
        copies.append(weakref.ref(module))
        return module

    monkeypatch.setattr(torch, 'compile', compile_)
    runs = [
        rig.train(tmp_path / str(len(more)), hooks=[rig.dbf(2, **more)], epochs=4)
        for more in (FOLDED, dict(FOLDED, frozen_compile=True))
    ]
    assert len(copies) == 2  # every second epoch is frozen
    assert runs[0].losses == runs[1].losses
    gc.collect()
    assert not any(copy() for copy in copies)


def test_resumed_in_the_middle_of_a_folded_span_equals_uninterrupted(tmp_path):
    options = dict(hooks=[rig.dbf('inf', **FOLDED)], epochs=3)
    whole = rig.train(tmp_path / 'whole', **options)
    start = str(tmp_path / 'whole' / 'epoch_1.pth')
    resumed = rig.train(tmp_path / 'part', load_from=start, resume=True, **options)
    assert not rig.equal(resumed.states[-1], whole.states[-1])
    assert resumed.losses == whole.losses[4:]


@pytest.mark.usefixtures('plain_convolutions')
def test_autocast_of_the_run_gives_the_neck_its_type(tmp_path):
    wrapper = dict(type='CpuAmpOptimWrapper')
    for how in ('folded', 'bf16'):
        hook = rig.dbf('inf', frozen_forward=how)
        built = rig.runner(tmp_path / how, hooks=[hook], wrapper=wrapper, epochs=1)
        types = set()
        built.model.neck.register_forward_pre_hook(
            lambda m, args, types=types: types.update(t.dtype for t in args[0])
        )
        built.train()
        assert types == {torch.bfloat16}


def test_two_ranks_send_what_trains_and_stay_equal(tmp_path):
    model = rig.detector(backbone=dict(rig.resnet(), norm_eval=True))
    hooks = [rig.dbf(2, **FOLDED), *[dict(type='CommunicatedBytes')] * rig.KEEPS_COMM_HOOKS]
    first, second = rig.run(2, work_dir=str(tmp_path), hooks=hooks, model=model, epochs=2)
    for a, b in zip(first['states'], second['states']):
        assert not rig.equal(a, b)
    parameters = dict(rig.build(model).named_parameters())
    for sent, trains in zip(first['bytes'], first['trains']):
        assert sent == sum(rig.nbytes(parameters[n]) for n in trains)
    assert not rig.equal(first['states'][1], first['states'][2], 'backbone.')


def test_what_excludes_it_is_an_error():
    for how in ('folded', 'bf16', 'fp16'):
        with pytest.raises(ValueError, match="needs norms in eval mode.*allowed is 'exact'"):
            rig.HOOKS.build(rig.dbf(2, frozen_forward=how, frozen_mode='train'))
    for more, allowed in (
        ({}, "'folded', 'bf16'"),
        (dict(FOLDED, frozen_mode='norm_eval'), 'eval'),
    ):
        with pytest.raises(ValueError, match=f'frozen_compile=True: .*{allowed}'):
            rig.HOOKS.build(rig.dbf(2, frozen_compile=True, **more))
    with pytest.raises(ValueError, match='how must be one of'):
        FrozenForward(torch.nn.Identity(), [''], 'exact', print)
