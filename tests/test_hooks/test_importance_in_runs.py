"""The estimate inside a run: when, from what, without a trace; files; resume; several ranks."""

from pathlib import Path

import plain
import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from test_distortion_regularizer_hook import STRENGTH, close, only, reg, run

from mmbackbone_plugins.distortion.importance_file import ImportanceFile
from mmbackbone_plugins.hooks import importance_pass

FOUR = [[0, 1], [2, 3], [4, 5], [6, 7]]


def probing(epochs=1, **options):
    schedule = dict(type='ProbeThenFinetune', probe=epochs, **options)
    return dict(type='FreezingSchedulerHook', schedule=schedule)


def files(folder):
    return sorted(Path(folder).glob('importance-*.pth'))


def no_estimate(monkeypatch):
    def fail(*args, **options):
        raise AssertionError('it was estimated')

    monkeypatch.setattr(importance_pass, 'estimate_importance', fail)


# -- when ------------------------------------------------------------------------------------------


def test_at_the_start_by_default(tmp_path):
    record = run(tmp_path, reg('ewc'), epochs=1)
    (path,) = files(tmp_path)
    found, wanted = ImportanceFile.load(path), plain.importance(record.states[0], FOUR, 'ewc')
    assert found.kind == 'ewc' and found.tensors.keys() == wanted.keys()
    for name, value in found.tensors.items():
        torch.testing.assert_close(value.double(), wanted[name], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize('loop', (dict(epochs=3), dict(iters=8)), ids=('epochs', 'iterations'))
def test_at_the_end_of_probing(loop, tmp_path):
    """On the probed head and the untouched backbone; then the steps are those of a plain loop."""
    schedule = probing(1) if 'epochs' in loop else probing(4, by_epoch=False)
    record = run(tmp_path, reg('ewc'), hooks=[schedule], **loop)
    start, probed = record.states[0], record.per_iter[3]
    assert rig.equal(start, probed) and not rig.equal(start, probed, 'backbone.')
    weights = plain.importance(probed, FOUR, 'ewc')
    (path,) = files(tmp_path)
    for name, value in ImportanceFile.load(path).tensors.items():
        torch.testing.assert_close(value.double(), weights[name], rtol=1e-4, atol=1e-8)
    wanted = plain.train(probed, [[b] for b in FOUR], start, weights, STRENGTH['ewc'])
    close(record.per_iter[7], wanted[-1])


def test_all_stages_are_estimated_when_the_first_of_them_trains(tmp_path):
    schedule = dict(type='GradualUnfreezing', start=0, every=1)
    hooks = [dict(type='FreezingSchedulerHook', schedule=schedule)]
    record = run(tmp_path, reg('ewc'), hooks=hooks, epochs=2)
    assert rig.equal(record.states[0], record.states[1], 'backbone.layer4')
    assert not rig.equal(record.states[0], record.states[1], 'backbone.layer3')
    (path,) = files(tmp_path)
    found = ImportanceFile.load(path).tensors
    # What trains within the two epochs, wherever it was frozen when this was estimated.
    assert {n.split('.')[1] for n in found} == {'layer3', 'layer4'}
    wanted = plain.importance(record.states[0], FOUR, 'ewc')
    close({n: t.double() for n, t in found.items()}, {n: wanted[n] for n in found}, 1e-4, 1e-8)


# -- no trace --------------------------------------------------------------------------------------

TRACES = {
    'rgn-ema': dict(shuffle=True, hooks=[dict(type='EMAHook', momentum=0.2)]),
    'rgn-two-stage': dict(model=rig.detector('oriented-rcnn'), shuffle=True),
    'rgn-swin-drop-path': dict(model=rig.detector(backbone=rig.swin()), optimizer=rig.ADAMW),
    'rgn-iterations': dict(iters=6, shuffle=True),
    'fisher-two-stage': dict(model=rig.detector('oriented-rcnn'), shuffle=True),
    'fisher-probing': dict(hooks=[probing()]),
}


@pytest.mark.parametrize('name', TRACES)
def test_the_estimate_leaves_the_run_untouched(name, tmp_path):
    """At strength 0 the run is equal bit for bit to one without the hook."""
    kind = name.split('-')[0]
    options = dict(dict(epochs=2), **TRACES[name])
    hooks = options.pop('hooks', [])
    with_hook = rig.train(tmp_path / 'a', hooks=[*hooks, reg(kind, 0.0)], **options)
    without = rig.train(tmp_path / 'b', hooks=hooks, **options)
    assert files(tmp_path / 'a')
    assert with_hook.losses == without.losses
    assert not rig.equal(with_hook.states[-1], without.states[-1])


@HOOKS.register_module(force=True)
class DrawFirst(Hook):
    """Draws random numbers before the estimate."""

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        torch.rand(7)


def test_the_estimate_has_random_numbers_of_its_own(tmp_path):
    """Drop path, samplers and augmentation draw by the hook's seed, whatever was drawn before."""
    model = rig.detector(backbone=rig.swin())
    tensors = []
    for name, hooks in dict(plain=[], drawn=[dict(type='DrawFirst')]).items():
        rig.train(tmp_path / name, hooks=[*hooks, reg('ewc')], model=model, epochs=1, length=4)
        (path,) = files(tmp_path / name)
        tensors.append(ImportanceFile.load(path).tensors)
    assert not rig.equal(*tensors)
    other = reg('ewc', seed=1)
    rig.train(tmp_path / 'seed', hooks=[other], model=model, epochs=1, length=4)
    (path,) = files(tmp_path / 'seed')
    assert rig.equal(tensors[0], ImportanceFile.load(path).tensors)


# -- files -----------------------------------------------------------------------------------------


def test_a_restart_uses_the_file_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    first = run(tmp_path, reg('rgn'), shuffle=True)
    (path,) = files(tmp_path)
    no_estimate(monkeypatch)
    again = run(tmp_path, reg('rgn'), shuffle=True)
    elsewhere = run(tmp_path / 'other', reg('rgn', importance_file=str(path)), shuffle=True)
    assert not rig.equal(first.states[-1], again.states[-1])
    assert not rig.equal(first.states[-1], elsewhere.states[-1])
    assert files(tmp_path) == [path] and not files(tmp_path / 'other')


@pytest.mark.parametrize(
    'change, differs',
    [
        (dict(seed=1), 'weights'),
        (dict(length=6), 'config, data'),
        (dict(batch=4), 'config'),
        (dict(hook=dict(exclude=['*.bn?.*'])), 'config'),
    ],
    ids=('weights', 'data', 'batch', 'names'),
)
def test_a_file_of_another_run_is_refused_and_never_overwritten(change, differs, tmp_path):
    options = dict(epochs=1, model=plain.FIXED, optimizer=plain.SGD)
    rig.train(tmp_path, hooks=[reg('ewc')], **options)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    change = dict(change)
    own = change.pop('hook', {})
    built = rig.runner(
        tmp_path / 'b',
        hooks=[reg('ewc', importance_file=str(path), **own)],
        **dict(options, **change),
    )
    with pytest.raises(ValueError, match=f'importance_file=.* was estimated from other {differs}'):
        built.train()
    # In the same work dir without being asked for: left alone, said, and estimated anew.
    built = rig.runner(tmp_path, hooks=[reg('ewc', **own)], **dict(options, **change))
    messages = rig.listen_to(built)
    built.train()
    assert len(files(tmp_path)) == 2 and path.read_bytes() == content
    assert any(f'is of other {differs}, and is left alone' in m for m in messages)


@pytest.mark.parametrize('content', (None, b'half'), ids=('missing', 'torn'))
def test_an_unreadable_file_stops_before_training(content, tmp_path):
    path = tmp_path / 'importance.pth'
    if content:
        path.write_bytes(content)
    built = rig.runner(tmp_path, hooks=[reg('ewc', importance_file=str(path))], epochs=1)
    with pytest.raises(ValueError, match='importance file .* (does not exist|cannot be read)'):
        built.train()


def test_a_torn_file_in_the_work_dir_stops_nothing(tmp_path):
    first = run(tmp_path, reg('ewc'), epochs=1)
    (path,) = files(tmp_path)
    path.write_bytes(b'half')
    again = run(tmp_path, reg('ewc'), epochs=1)
    assert not rig.equal(first.states[-1], again.states[-1])
    assert ImportanceFile.load(path).kind == 'ewc'
    assert (tmp_path / f'{path.name}.unreadable').read_bytes() == b'half'


def test_interrupted_in_the_estimate(tmp_path, monkeypatch):
    whole = run(tmp_path / 'whole', reg('ewc'), epochs=1)

    class Stop(importance_pass.Progress):
        def __call__(self, done):
            if done == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importance_pass, 'Progress', Stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / 'part', reg('ewc'), epochs=1)
    assert not files(tmp_path / 'part')
    again = run(tmp_path / 'part', reg('ewc'), epochs=1, resume=True)
    assert not rig.equal(whole.states[-1], again.states[-1])


# -- resume ----------------------------------------------------------------------------------------


def last_checkpoint(folder):
    path = (Path(folder) / 'last_checkpoint').read_text().strip()
    return torch.load(path, weights_only=False, map_location='cpu')


RESUMED = {
    'in-probing': dict(kill_at=6, hooks=[probing(2)]),
    'after-probing-ema': dict(kill_at=9, hooks=[probing(1), dict(type='EMAHook', momentum=0.2)]),
    'iterations': dict(kill_at=7, hooks=[probing(3, by_epoch=False)], iters=12),
    'dbf-se-adamw': dict(
        kill_at=9,
        hooks=[rig.dbf(2)],
        optimizer=rig.ADAMW,
        model=rig.detector(
            backbone=rig.with_blocks(rig.resnet(), 'SEBlock', reduction=4, init='identity')
        ),
    ),
}


@pytest.mark.parametrize('name', RESUMED)
def test_killed_and_resumed_equals_uninterrupted(name, tmp_path):
    """theta0 and importance are those of the first start, though the work dir's file is gone."""
    case = dict(RESUMED[name])
    kill_at = case.pop('kill_at')
    options = {'epochs': 4, **case, 'hooks': [*case.get('hooks', []), reg('rgn', 10.0)]}
    whole = rig.train(tmp_path / 'whole', **options)
    part = str(tmp_path / 'part')
    rig.run(returncode=-9, work_dir=part, kill_at=kill_at, **options)
    for path in files(part):
        path.rename(path.with_name('elsewhere.pth'))
    resumed = rig.run(work_dir=part, resume=True, **options)[0]
    assert not rig.equal(resumed['states'][-1], whole.states[-1])
    ours, theirs = last_checkpoint(part), last_checkpoint(tmp_path / 'whole')
    start = whole.states[0]
    for key, tensor in ours['mmbackbone_anchor'].items():
        assert torch.equal(tensor, start[key]), key
    a, b = (c['mmbackbone_importance']['distortion'] for c in (ours, theirs))
    assert a['fingerprint'] == b['fingerprint']
    assert not rig.equal(a['tensors'], b['tensors'])
    assert not any('anchor' in key or 'importance' in key for key in ours['state_dict'])
    if name == 'dbf-se-adamw':
        blocks = [n for n in start if 'blocks' in n]
        assert blocks and not any(n in ours['mmbackbone_anchor'] for n in blocks)
        # Blocks train in every epoch, the backbone they are in only in its own.
        for epoch, trains in enumerate((True, False, True, False)):
            moved = rig.equal(whole.states[epoch], whole.states[epoch + 1], 'backbone.')
            assert set(blocks) & set(moved)
            assert any('blocks' not in n for n in moved) == trains


def test_a_checkpoint_with_the_hook_resumes_without_it(tmp_path):
    run(tmp_path, reg('uniform'), epochs=1)
    record = rig.train(tmp_path, model=plain.FIXED, optimizer=plain.SGD, epochs=2, resume=True)
    assert len(record.losses) == 4


def test_a_checkpoint_without_the_hook_resumes_with_it_and_a_warning(tmp_path):
    rig.train(tmp_path, model=plain.FIXED, optimizer=plain.SGD, epochs=1)
    options = dict(model=plain.FIXED, optimizer=plain.SGD, epochs=2, resume=True)
    built = rig.runner(tmp_path, hooks=[reg('uniform')], **options)
    messages = rig.listen_to(built)
    built.train()
    record = rig.recorder(built)
    (warning,) = [m for m in messages if 'has no theta0' in m]
    assert 'anchor=FILE' in warning
    start = record.states[0]
    wanted = plain.train(start, [[b] for b in FOUR], start, None, STRENGTH['uniform'])
    close(record.per_iter[-1], wanted[-1])


def test_load_from_is_a_fresh_start_held_to_the_loaded_weights(tmp_path):
    """The second of two runs of DP-FT: theta0 are the probed detector's."""
    frozen = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    rig.train(tmp_path / 'dp', hooks=[frozen], model=plain.FIXED, optimizer=plain.SGD, epochs=1)
    checkpoint = (tmp_path / 'dp' / 'last_checkpoint').read_text().strip()
    record = run(tmp_path / 'ft', reg('ewc'), epochs=1, load_from=checkpoint)
    start = torch.load(checkpoint, weights_only=False)['state_dict']
    assert not rig.equal(record.states[0], start)
    weights = plain.importance(start, FOUR, 'ewc')
    wanted = plain.train(start, [[b] for b in FOUR], start, weights, STRENGTH['ewc'])
    close(record.per_iter[-1], wanted[-1])


def test_an_anchor_file_that_has_changed_is_refused(tmp_path):
    path = tmp_path / 'theta0.pth'
    state = rig.build(plain.FIXED).state_dict()
    torch.save(state, path)
    hook = reg('uniform', anchor=str(path))
    run(tmp_path / 'run', hook, epochs=1)
    checkpoint = last_checkpoint(tmp_path / 'run')
    assert 'mmbackbone_anchor' not in checkpoint  # the file is there: no copy in each checkpoint
    run(tmp_path / 'run', hook, epochs=2, resume=True)
    state['backbone.conv1.weight'] += 1e-3
    torch.save(state, path)
    options = dict(model=plain.FIXED, optimizer=plain.SGD, epochs=3, resume=True)
    built = rig.runner(tmp_path / 'run', hooks=[hook], **options)
    with pytest.raises(ValueError, match='the file has changed, or is another one'):
        built.train()


def test_resuming_with_another_kind_is_refused(tmp_path):
    run(tmp_path, reg('ewc'), epochs=1)
    options = dict(model=plain.FIXED, optimizer=plain.SGD, epochs=2, resume=True)
    built = rig.runner(tmp_path, hooks=[reg('rgn')], **options)
    with pytest.raises(ValueError, match="of kind 'ewc', this run wants importance='rgn'"):
        built.train()


def test_drift_and_regulariser_share_theta0(tmp_path):
    drift = dict(type='DriftHook', num_images=0)
    run(tmp_path, reg('uniform'), hooks=[drift], epochs=1)
    options = dict(model=plain.FIXED, optimizer=plain.SGD, epochs=2, resume=True)
    record = rig.train(tmp_path, hooks=[drift, reg('uniform')], **options)
    anchor = last_checkpoint(tmp_path)['mmbackbone_anchor']
    apart = [n for n, t in only(record.states[0]).items() if not torch.equal(t, anchor[n])]
    assert apart and len(anchor) == len(only(record.states[0]))


# -- several ranks ---------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=('ewc', 'fisher'))
def two_ranks(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f'ranks-{request.param}')
    hooks = [probing(1), reg(request.param)]
    options = dict(hooks=hooks, model=plain.FIXED, optimizer=plain.SGD, epochs=3)
    return request.param, folder, rig.run(2, work_dir=str(folder), **options)


def test_ranks_stay_equal_bit_for_bit(two_ranks):
    _, _, ranks = two_ranks
    for first, second in zip(ranks[0]['states'], ranks[1]['states']):
        assert not rig.equal(first, second)
    assert not rig.equal(ranks[0]['states'][0], ranks[0]['states'][1], 'backbone.')
    assert rig.equal(ranks[0]['states'][1], ranks[0]['states'][2], 'backbone.')


def test_ranks_equal_one_process_that_averages_their_gradients(two_ranks):
    """A rank's batches are every second image; the importance is a mean over all of them."""
    kind, folder, ranks = two_ranks
    start, probed = ranks[0]['states'][:2]
    batches = [[0, 2], [1, 3], [4, 6], [5, 7]]
    weights = plain.importance(probed, batches, kind)
    (path,) = files(folder)
    for name, value in ImportanceFile.load(path).tensors.items():
        torch.testing.assert_close(value.double(), weights[name], rtol=1e-4, atol=1e-8)
    windows = [batches[:2], batches[2:]] * 2
    wanted = plain.train(probed, windows, start, weights, STRENGTH[kind])
    close(ranks[0]['states'][3], wanted[-1])


@pytest.mark.slow
def test_two_ranks_killed_and_resumed_by_four(tmp_path):
    """Settings of the estimate differ then; theta0 and importance travel with the checkpoint."""
    hooks = [rig.dbf(2), reg('rgn', 10.0)]
    options = dict(hooks=hooks, model=plain.FIXED, optimizer=plain.SGD, work_dir=str(tmp_path))
    rig.run(2, epochs=2, **options)
    first = last_checkpoint(tmp_path)
    ranks = rig.run(4, epochs=4, resume=True, **options)
    for rank in ranks[1:]:
        assert not rig.equal(ranks[0]['states'][-1], rank['states'][-1])
    last = last_checkpoint(tmp_path)
    assert not rig.equal(first['mmbackbone_anchor'], last['mmbackbone_anchor'])
    a, b = (c['mmbackbone_importance']['distortion']['tensors'] for c in (first, last))
    assert not rig.equal(a, b)
