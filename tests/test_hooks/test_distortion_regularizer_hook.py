"""The penalty in real runs: every step is that of a plain float64 loop; phases, scalars, errors."""

import json
import math
from pathlib import Path

import plain
import pytest
import rig
import torch

from mmbackbone_plugins.distortion.importance import _KINDS, ImportanceKind

AMP = dict(type='CpuAmpOptimWrapper')
LR = plain.SGD['lr']
# Strong enough that the penalty is felt beside the loss.
STRENGTH = dict(uniform=10.0, rgn=100.0, ewc=3e3, fisher=1e6)


def reg(importance='rgn', coeff=None, **options):
    coeff = STRENGTH[importance] if coeff is None else coeff
    return dict(
        type='DistortionRegularizerHook',
        importance=importance,
        coeff=coeff,
        **dict(dict(interval=1), **options),
    )


def scalars(folder):
    path = sorted(Path(folder).rglob('vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


def only(state, prefix='backbone.'):
    return {n: t for n, t in state.items() if n.startswith(prefix)}


def close(ours, theirs, rtol=1e-4, atol=1e-5):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=rtol, atol=atol, msg=name)


def run(folder, hook, **options):
    options = dict(dict(model=plain.FIXED, optimizer=plain.SGD, epochs=2), **options)
    return rig.train(folder, hooks=[hook, *options.pop('hooks', [])], **options)


FOUR = [[0, 1], [2, 3], [4, 5], [6, 7]]


# -- every step ------------------------------------------------------------------------------------


@pytest.mark.parametrize('clipped', (False, True), ids=('free', 'clipped'))
@pytest.mark.parametrize('kind', STRENGTH)
def test_steps_are_those_of_a_plain_loop(kind, clipped, tmp_path):
    coeff = STRENGTH[kind] * (1 if not clipped else 2 if kind == 'uniform' else 100)
    record = run(tmp_path, reg(kind, coeff))
    start = record.states[0]
    weights = None if kind == 'uniform' else plain.importance(start, FOUR, kind)
    if weights is not None:
        # Biases of norm layers start at zero: their RGN is beyond any limit in both cases.
        limited = torch.cat([(coeff * w > 1 / LR).flatten() for w in weights.values()])
        assert (limited.float().mean() > 0.05) == clipped and not bool(limited.all())
    wanted = plain.train(start, [[b] for b in FOUR * 2], start, weights, coeff)
    close(record.per_iter[-1], wanted[-1])
    # Without the penalty the backbone ends elsewhere, by much more than this tolerance.
    without = plain.train(start, [[b] for b in FOUR * 2], start, None, 0.0)[-1]
    moved = max(float((without[n] - wanted[-1][n]).abs().max()) for n in only(without))
    assert moved > 1e-3


@pytest.mark.parametrize('capped', (True, False))
def test_a_kind_of_ones_own_says_whether_it_is_limited(capped, tmp_path, monkeypatch):
    """Of importance 1 everywhere it is 'uniform', with the limit at 1 / lr or without."""

    class Own(ImportanceKind):
        score = staticmethod(lambda gradient, weight: torch.ones_like(weight))

    Own.capped = capped
    monkeypatch.setitem(_KINDS, 'own', Own)
    beyond = 1.5 / LR
    own = run(tmp_path / 'own', reg('own', beyond, num_batches=1), epochs=1)
    uniform = run(tmp_path / 'uniform', reg('uniform', 1 / LR if capped else beyond), epochs=1)
    close(own.per_iter[-1], uniform.per_iter[-1])


@pytest.mark.parametrize('kind', ('uniform', 'rgn'))
def test_accumulation_and_clipping(kind, tmp_path):
    """The penalty is added once a step, after clipping, in full."""
    wrapper = dict(accumulative_counts=2, clip_grad=dict(max_norm=0.5))
    record = run(tmp_path, reg(kind), wrapper=wrapper)
    start = record.states[0]
    weights = None if kind == 'uniform' else plain.importance(start, FOUR, kind)
    windows = [FOUR[:2], FOUR[2:]] * 2
    close(
        record.per_iter[-1],
        plain.train(start, windows, start, weights, STRENGTH[kind], clip=0.5)[-1],
    )


def test_every_group_is_limited_by_its_own_rate_at_this_step(tmp_path):
    custom_keys = {'backbone.layer3': dict(lr_mult=10.0), 'backbone.layer4': dict(lr_mult=0.1)}
    decay = dict(type='MultiStepLR', by_epoch=False, milestones=[1], gamma=0.5)
    coeff = STRENGTH['rgn'] * 100
    record = run(
        tmp_path,
        reg(coeff=coeff),
        wrapper=dict(paramwise_cfg=dict(custom_keys=custom_keys)),
        param_scheduler=[decay],
        epochs=1,
    )
    start = record.states[0]

    def rate(step):
        def of(name):
            factor = {'layer3': 10.0, 'layer4': 0.1}.get(name.split('.')[1], 1.0)
            return LR * factor * (1.0 if step == 0 else 0.5)

        return of

    state, weights = start, plain.importance(start, FOUR, 'rgn')
    for step, batch in enumerate(FOUR):
        (state,) = plain.train(state, [[batch]], start, weights, coeff, lr=rate(step))
    close(record.per_iter[-1], state)


def test_oriented_two_stage_detector(tmp_path):
    """Against the same run with the importance and the penalty applied by hand to its gradients."""
    model = rig.detector('oriented-rcnn', dict(rig.resnet(), norm_eval=True))
    record = run(tmp_path / 'a', reg('uniform', 2.0), model=model, epochs=1)
    bare = run(tmp_path / 'b', reg('uniform', 0.0), model=model, epochs=1)
    start, first = record.states[0], bare.per_iter[0]
    assert not rig.equal(record.per_iter[0], first)  # at theta0 nothing is added
    gap = [torch.equal(record.per_iter[1][n], t) for n, t in only(bare.per_iter[1]).items()]
    assert not all(gap)
    for name, after in only(record.per_iter[1]).items():
        if not after.is_floating_point():
            continue
        pull = LR * 2.0 * (first[name] - start[name])
        torch.testing.assert_close(after, bare.per_iter[1][name] - pull, rtol=1e-4, atol=1e-6)


def test_a_given_anchor(tmp_path):
    """theta0 from a file: of the detector, of the backbone alone, as a checkpoint."""
    net = rig.build(plain.FIXED)
    torch.manual_seed(5)
    theta0 = {n: torch.randn_like(t) for n, t in net.state_dict().items() if t.is_floating_point()}
    alone = {n[len('backbone.') :]: t for n, t in only(theta0).items()}
    files = dict(whole=theta0, alone=alone, checkpoint=dict(state_dict=theta0, meta={}))
    ends = []
    for name, content in files.items():
        torch.save(content, tmp_path / f'{name}.pth')
        hook = reg('uniform', anchor=str(tmp_path / f'{name}.pth'))
        record = run(tmp_path / name, hook, epochs=1, length=2)
        ends.append(record.per_iter[0])
        start = record.states[0]
    close(ends[0], plain.train(start, [[FOUR[0]]], theta0, None, STRENGTH['uniform'])[0])
    assert not rig.equal(ends[0], ends[1]) and not rig.equal(ends[0], ends[2])


@pytest.mark.usefixtures('plain_convolutions')
@pytest.mark.parametrize('fused', (False, True))
@pytest.mark.parametrize('clip', (None, 0.5))
def test_loss_scales_agree(fused, clip, tmp_path):
    """theta0 is far away, so that the very first step shows the penalty."""
    torch.manual_seed(5)
    net = rig.build(plain.FIXED)
    theta0 = {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in net.named_parameters()}
    torch.save(theta0, tmp_path / 'theta0.pth')
    optimizer = dict(plain.SGD, **(dict(fused=True) if fused else {}))
    moves = {}
    for name, scale in {'1': 1.0, '1024': 1024.0, '1000': 1000.0, 'big': 2.0**20}.items():
        wrapper = dict(AMP, loss_scale=scale)
        if clip:
            wrapper.update(clip_grad=dict(max_norm=clip))
        hook = reg('uniform', anchor=str(tmp_path / 'theta0.pth'))
        options = dict(length=2, epochs=1, wrapper=wrapper, optimizer=optimizer)
        record = run(tmp_path / name, hook, **options)
        row = scalars(tmp_path / name)[0]
        start, end = only(record.states[0]), only(record.per_iter[0])
        moves[name] = ({n: end[n] - start[n] for n in end}, row)
    reference, numbers = moves['1']
    assert any(float(m.abs().max()) > 1e-3 for m in reference.values())
    for name in ('1024', '1000', 'big'):
        for key, move in moves[name][0].items():
            assert (move - reference[key]).double().norm() <= 1e-3 * reference[key].double().norm()
        assert moves[name][1]['distortion/ratio'] == pytest.approx(
            numbers['distortion/ratio'], rel=1e-2
        )
        assert moves[name][1]['distortion/penalty'] == pytest.approx(
            numbers['distortion/penalty'], rel=1e-4
        )


def test_exclude(tmp_path):
    record = run(tmp_path / 'a', reg('uniform', 3.0, exclude=['backbone.layer[34].*']), epochs=1)
    bare = run(tmp_path / 'b', reg('uniform', 0.0), epochs=1)
    # At the second step the losses' gradients are still equal, the pull is the difference.
    apart = rig.equal(record.per_iter[1], bare.per_iter[1])
    assert apart and not any(n.startswith(('backbone.layer3', 'backbone.layer4')) for n in apart)
    assert all(n.startswith('backbone.') for n in apart)


# -- phases and scalars ----------------------------------------------------------------------------


def test_frozen_phases_skip_the_penalty(tmp_path):
    hooks = [dict(type='FreezingSchedulerHook', schedule=dict(type='StepFreezing', rho=2))]
    record = run(tmp_path, reg(), hooks=hooks, epochs=3)
    states = record.states
    assert rig.equal(states[0], states[1], 'backbone.')
    assert not rig.equal(states[1], states[2], 'backbone.')
    assert rig.equal(states[2], states[3], 'backbone.')
    start = states[0]
    weights = plain.importance(start, FOUR, 'rgn')
    windows = [[b] for b in FOUR * 3]
    frozen = lambda step: 4 <= step < 8  # noqa: E731
    wanted = plain.train(start, windows, start, weights, STRENGTH['rgn'], frozen=frozen)
    close(record.per_iter[-1], wanted[-1], rtol=3e-4)
    rows = scalars(tmp_path)
    assert ['distortion/ratio' in row for row in rows] == [True] * 4 + [False] * 4 + [True] * 4
    assert ['distortion/ratio/stage3' in row for row in rows][3:5] == [True, False]


def test_a_value_of_an_earlier_phase_leaves_the_log(tmp_path):
    hooks = [dict(type='FreezingSchedulerHook', schedule=dict(type='StepFreezing', rho=2))]
    run(tmp_path, reg('uniform', interval=100), hooks=hooks, epochs=2)
    rows = scalars(tmp_path)
    shown = [any(key.startswith('distortion/') for key in row) for row in rows]
    assert shown == [True] * 4 + [False] * 4


def test_scalars_against_the_definition(tmp_path):
    record = run(tmp_path, reg('uniform', 2.0), epochs=1)
    start, rows = record.states[0], scalars(tmp_path)
    states = [start, *record.per_iter]
    assert rows[0]['distortion/penalty'] == 0 and rows[0]['distortion/ratio'] == 0
    for step in (1, 3):
        g = plain.gradients(states[step], [FOUR[step]])
        moved = {n: states[step][n].double() - start[n].double() for n in g}
        held = [n for n in g if n.startswith('backbone.')]
        size = lambda d, names: sum(float((d[n] ** 2).sum()) for n in names)  # noqa: E731
        assert rows[step]['distortion/penalty'] == pytest.approx(size(moved, held), rel=1e-3)
        ratio = 2.0 * math.sqrt(size(moved, held) / size(g, held))
        assert rows[step]['distortion/ratio'] == pytest.approx(ratio, rel=1e-3)
        inside = [n for n in held if '.layer2.' in n]
        ratio = 2.0 * math.sqrt(size(moved, inside) / size(g, inside))
        assert rows[step]['distortion/ratio/stage2'] == pytest.approx(ratio, rel=1e-3)


def test_interval_counts_steps_not_iterations(tmp_path):
    wrapper = dict(accumulative_counts=2)
    run(tmp_path, reg('uniform', interval=2), wrapper=wrapper, epochs=2)
    values = [row.get('distortion/penalty') for row in scalars(tmp_path)]
    # Steps end iterations 2, 4, 6, 8; the first and third of them are measured.
    assert values[0] is None and values[1] == values[4] == 0 and values[5] == values[7] > 0


def test_the_run_is_left_as_it_was_found(tmp_path):
    built = rig.runner(tmp_path, hooks=[reg('uniform')], epochs=1)
    built.train()
    assert 'step' not in built.optim_wrapper.__dict__


def test_iteration_loop_and_a_weak_penalty_keeps_the_backbone_nearer(tmp_path):
    distances = []
    for coeff in (0.0, 0.5, 5.0):
        record = run(tmp_path / str(coeff), reg('uniform', coeff), iters=12)
        start, end = only(record.states[0]), only(record.per_iter[-1])
        distances.append(sum(float(((end[n] - start[n]).float() ** 2).sum()) for n in end))
    assert distances[0] > distances[1] > distances[2] > 0


@pytest.mark.parametrize('kind', ('uniform', 'ewc'))
def test_a_target_over_two_optimizers_is_held_as_one(kind, tmp_path):
    """By hand: a model of three linear layers that steps by itself."""
    hook = reg(kind, 5.0, target=['backbone', 'head'])
    record = rig.train(tmp_path / 'a', hooks=[hook], epochs=1, **rig.TWO_OPTIMIZERS)
    bare = rig.train(tmp_path / 'b', epochs=1, **rig.TWO_OPTIMIZERS)
    start, first = record.states[0], bare.per_iter[0]
    assert not rig.equal(record.per_iter[0], first)  # at theta0 nothing is added
    weights = {name: torch.ones(()) for name in start}
    if kind == 'ewc':
        (path,) = (tmp_path / 'a').glob('importance-ewc-*.pth')
        weights = torch.load(path)['tensors']
        assert weights.keys() == start.keys()
    for name, after in record.per_iter[1].items():
        pull = 0.01 * 5.0 * weights[name] * (first[name] - start[name])
        torch.testing.assert_close(after, bare.per_iter[1][name] - pull, rtol=1e-4, atol=1e-7)
    assert rig.equal(record.per_iter[1], bare.per_iter[1])


def test_two_hooks_in_one_run(tmp_path):
    """Each with a kind, strength, scalars and place in the checkpoint of its own."""
    hooks = [reg('uniform', 3.0), reg('ewc', 1e3, target='neck')]
    options = dict(model=plain.FIXED, optimizer=plain.SGD)
    whole = rig.train(tmp_path / 'whole', hooks=hooks, epochs=2, **options)
    rig.train(tmp_path / 'part', hooks=hooks, epochs=1, **options)
    part = rig.train(tmp_path / 'part', hooks=hooks, epochs=2, resume=True, **options)
    assert not rig.equal(whole.states[-1], part.states[-1])
    row = scalars(tmp_path / 'whole')[-1]
    assert row['distortion/penalty'] > 0 and row['distortion-neck/penalty'] > 0
    assert 'distortion/ratio/stage2' in row and 'distortion-neck/ratio' in row


def test_the_report_says_what_is_held(tmp_path):
    model = rig.detector(backbone=dict(rig.resnet(frozen_stages=1), norm_eval=True))
    built = rig.runner(tmp_path, hooks=[reg('uniform', exclude='*.bn2.*')], model=model, epochs=1)
    messages = rig.listen_to(built)
    built.train()
    (report,) = [m for m in messages if m.startswith('DistortionRegularizerHook: importance=')]
    assert 'never trains' in report and "exclude '*.bn2.*'" in report and 'coeff=10' in report


# -- bad input -------------------------------------------------------------------------------------


def frozen(schedule):
    return dict(type='FreezingSchedulerHook', schedule=dict(type=schedule))


def theta0_of(tmp_path, change):
    state = rig.build(plain.FIXED).state_dict()
    change(state)
    torch.save(state, tmp_path / 'theta0.pth')
    return str(tmp_path / 'theta0.pth')


def lose(state):
    del state['backbone.layer2.0.conv1.weight']
    state['backbone.conv1.weight'] = torch.zeros(2)


def test_errors_before_the_first_step(tmp_path):
    def stops(message, hooks, **options):
        built = rig.runner(tmp_path / 'run', hooks=hooks, model=plain.FIXED, epochs=1, **options)
        with pytest.raises(ValueError, match=message):
            built.train()
        assert built.iter == 0

    stops('nothing to regularise', [reg('uniform'), frozen('FrozenBackbone')])
    stops("the pattern 'layer' matches no", [reg('uniform', exclude=['layer'])])
    stops("target 'backbon' does not exist", [reg('uniform', target='backbon')])
    stops('there is no such file', [reg('uniform', anchor=str(tmp_path / 'none.pth'))])
    path = theta0_of(tmp_path, lose)
    stops(
        r'do not fit this model: backbone.conv1.weight \(shape \(2,\), the model has .*, '
        r'backbone.layer2.0.conv1.weight \(missing\)|do not fit this model: '
        r'backbone.layer2.0.conv1.weight \(missing\), backbone.conv1.weight \(shape',
        [reg('uniform', anchor=path)],
    )
    stops("hold 'backbone", [reg('uniform'), reg('uniform', target=['backbone', 'neck'])])
