"""Trainings that are killed at random instants, resumed, and compared with uninterrupted ones."""

import random

import kills
import pytest
import rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 5  # of a training; each resumes what the one before has left
RANDOM, EMA, RGN = dict(type='RandomStateHook'), dict(type='EMAHook'), dict(type='RGNHook', interval=1)
BUDGET = dict(
    type='FreezingSchedulerHook',
    schedule=dict(type='BudgetedFreezing', budget=0.8, num_batches=1),
)
LR = dict(type='RGNLearningRateHook', num_batches=1)


def held(importance):
    return dict(
        type='DistortionRegularizerHook', importance=importance, coeff=0.1, num_batches=3
    )


def projected(kind):
    return dict(type='WeightProjectionHook', kind=kind)


EPOCHS, ITERS = dict(epochs=5), dict(iters=15)
CASES = {
    'epochs-dbf-rgn': (1, dict(EPOCHS, hooks=[rig.dbf(2), RGN])),
    'epochs-1worker-dbf-ema': (1, dict(EPOCHS, hooks=[rig.dbf(2), EMA], workers=1)),
    'epochs-2workers-ewc-rgn': (1, dict(EPOCHS, hooks=[held('ewc'), RGN], workers=2)),
    'epochs-2persistent-budget': (1, dict(EPOCHS, hooks=[BUDGET], workers=2, persistent=True)),
    'epochs-spd-drift': (
        1,
        dict(EPOCHS, hooks=[projected('spd'), dict(type='DriftHook')], optimizer=rig.ADAMW),
    ),
    'epochs-2ranks-dbf-rgn-held-ema': (2, dict(EPOCHS, hooks=[rig.dbf(2), RGN, held('rgn'), EMA])),
    'epochs-2ranks-1worker-budget': (2, dict(EPOCHS, hooks=[BUDGET], workers=1)),
    'epochs-2ranks-2workers-rates': (2, dict(EPOCHS, hooks=[LR], workers=2)),
    'iters-dbf-rgn-ema': (1, dict(ITERS, hooks=[rig.dbf(4, by_epoch=False), RGN, EMA])),
    'iters-1worker-fisher': (1, dict(ITERS, hooks=[held('fisher')], workers=1)),
    'iters-2workers-ftp-accumulating': (
        1,
        dict(
            ITERS,
            hooks=[projected('ftp')],
            workers=2,
            persistent=True,
            wrapper=dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0)),
        ),
    ),
    'iters-2ranks-1worker-dbf-ewc': (
        2,
        dict(ITERS, hooks=[rig.dbf(4, by_epoch=False), held('ewc')], workers=1),
    ),
}
WITHIN = {
    'iter_9.pth': (1, [rig.dbf(2), RGN]),
    'last_checkpoint': (8, [rig.dbf(2), RGN]),
    'rgn.jsonl': (5, [rig.dbf(2), RGN]),
    'decisions.jsonl': (3, [BUDGET]),
    'importance': (2, [held('ewc'), RGN]),
    'importance-ewc': (1, [held('ewc'), RGN]),
}


def same(folder, ranks, options):
    """Compares what is there with an uninterrupted training: checkpoints and records."""
    whole, cut = folder / 'whole', folder / 'cut'
    kills.wait(kills.start(cut, ranks, options), cut)
    kills.wait(kills.start(whole, ranks, options), whole)
    names = sorted(path.name for path in whole.glob('iter_*.pth'))
    assert len(names) == 15
    for name in names:
        # One that a kill has torn is written again only where it is the last.
        if kills.last_checkpoint(str(cut)) and (found := intact(cut / name)):
            differ = kills.differences(found, kills.content(whole / name))
            assert not differ, f'{name}: {len(differ)} differ, the first: {differ[:3]}'
    records = kills.records(whole)
    assert kills.records(cut) == records
    return records


def intact(path):
    try:
        return kills.content(path)
    except Exception:
        return None


@pytest.mark.parametrize('name', CASES)
def test_killed_at_random(name, tmp_path, record_property):
    ranks, options = CASES[name]
    options = dict(options, hooks=[RANDOM, *options['hooks']])
    dice = random.Random(name)
    print(name)
    for at in sorted(dice.choices(range(1, 15), k=KILLS)):
        assert kills.kill_at_random(tmp_path / 'cut', ranks, options, dice, at)
    records = same(tmp_path, ranks, options)
    assert bool(records) == any(h['type'] in ('RGNHook', 'DriftHook', 'RGNLearningRateHook') or h is BUDGET for h in options['hooks'])


@pytest.mark.parametrize('name', WITHIN)
def test_killed_within(name, tmp_path):
    nth, hooks = WITHIN[name]
    options = dict(EPOCHS, hooks=[RANDOM, *hooks])
    (process,) = kills.start(tmp_path / 'cut', 1, options, (name, nth))
    process.join(120)
    assert process.exitcode == -9
    same(tmp_path, 1, options)
