"""Schedules against their definitions, written out naively."""

import math

import pytest

from mmbackbone_plugins import (
    FREEZING_SCHEDULES,
    FreezeFromInput,
    FreezingSchedule,
    FrozenBackbone,
    FullTraining,
    GradualUnfreezing,
    MilestoneFreezing,
    ProbeThenFinetune,
    StepFreezing,
    build_schedule,
)
from mmbackbone_plugins.freezing import phases

STAGES = ('stem', 'stage1', 'stage2', 'stage3')
ALL, NONE = frozenset(STAGES), frozenset()


@pytest.mark.parametrize('rho', [*range(1, 41), 50, 99, 100, 250, 300, 1000])
def test_step_freezing_is_epoch_modulo_rho(rho):
    for epoch in range(300):
        expected = ALL if epoch % rho == 0 else NONE
        assert StepFreezing(rho).trainable(epoch, 12345, STAGES) == expected
        assert StepFreezing(rho, by_epoch=False).trainable(777, epoch, STAGES) == expected


def test_rho_one_is_full_and_infinite_rho_is_frozen():
    for epoch in range(300):
        full = FullTraining().trainable(epoch, epoch, STAGES)
        frozen = FrozenBackbone().trainable(epoch, epoch, STAGES)
        assert StepFreezing(1).trainable(epoch, 0, STAGES) == full == ALL
        for rho in (math.inf, 'inf', 'INF', float('inf')):
            assert StepFreezing(rho).trainable(epoch, 0, STAGES) == frozen == NONE


@pytest.mark.parametrize('rho', [1, 3, 7, 10, 100])
def test_number_of_trained_epochs(rho):
    """ceil(E / rho), papers.md 1.1: with E = 100 and rho = 10 they are 0, 10, ..., 90."""
    trained = [e for e in range(100) if StepFreezing(rho).trainable(e, 0, STAGES)]
    assert len(trained) == math.ceil(100 / rho)
    if rho == 10:
        assert trained == list(range(0, 100, 10))


def test_milestones_train_in_exactly_the_listed_epochs():
    listed = [1, 21, 41, 61, 81]
    schedule = MilestoneFreezing(listed)
    assert [e for e in range(100) if schedule.trainable(e, 0, STAGES)] == listed
    assert schedule.milestones_past(60) == [61, 81]
    assert not schedule.milestones_past(82)
    assert MilestoneFreezing((0,)).trainable(0, 9, STAGES) == ALL


def test_probe_then_finetune():
    schedule = ProbeThenFinetune(probe=4)
    assert [bool(schedule.trainable(e, 0, STAGES)) for e in range(6)] == [False] * 4 + [True] * 2
    assert ProbeThenFinetune(0).trainable(0, 0, STAGES) == ALL


def test_gradual_unfreezing_goes_from_the_output_to_the_input():
    schedule = GradualUnfreezing(start=2, every=3)
    for epoch in range(40):
        count = 0
        for step in range(len(STAGES)):  # stage number `step` from the output joins at this epoch
            count += epoch >= 2 + 3 * step
        expected = frozenset(STAGES[len(STAGES) - count :])
        assert schedule.trainable(epoch, 0, STAGES) == expected, epoch


def test_freezing_from_the_input():
    schedule = FreezeFromInput(start=2, every=3)
    for epoch in range(40):
        frozen = sum(epoch >= 2 + 3 * step for step in range(len(STAGES)))
        assert schedule.trainable(epoch, 0, STAGES) == frozenset(STAGES[frozen:]), epoch


def test_shares_of_the_run_are_rounded_up():
    for length in range(1, 40):
        found = FreezeFromInput(start=0.3, every=0.07).resolved(length)
        assert found.start == -(-3 * length // 10) and found.every == -(-7 * length // 100)
    assert MilestoneFreezing([0.25, 0.5]).resolved(6).train_epochs == [2, 3]
    with pytest.raises(ValueError, match='has shares of a run'):
        ProbeThenFinetune(0.5).trainable(0, 0, STAGES)


def test_schedules_are_pure():
    schedule = GradualUnfreezing(1, 1)
    backwards = [schedule.trainable(e, 0, STAGES) for e in reversed(range(9))]
    assert backwards[::-1] == [schedule.trainable(e, 0, STAGES) for e in range(9)]


@pytest.mark.parametrize(
    'schedule',
    [StepFreezing(3), StepFreezing('inf'), FullTraining(), GradualUnfreezing(2, 2)],
    ids=repr,
)
def test_phases_cover_the_run(schedule):
    found = list(phases(schedule, STAGES, 20))
    assert [t for p in found for t in range(p.start, p.end)] == list(range(20))
    for phase in found:
        for time in range(phase.start, phase.end):
            assert phase.trainable == schedule.trainable(time, time, STAGES)
    assert all(a.trainable != b.trainable for a, b in zip(found, found[1:]))


@pytest.mark.parametrize(
    'config, words',
    [
        (dict(type='StepFreezing', rho=0), ['rho', '0', 'positive integer']),
        (dict(type='StepFreezing', rho=-3), ['rho', '-3']),
        (dict(type='StepFreezing', rho=2.5), ['rho', '2.5']),
        (dict(type='StepFreezing', rho='five'), ['rho', "'five'"]),
        (dict(type='StepFreezing', rho=math.nan), ['rho', 'nan']),
        (dict(type='StepFreezing', rho=-math.inf), ['rho', '-inf']),
        (dict(type='StepFreezing', rho=True), ['rho', 'True']),
        (dict(type='StepFreezing', rho=None), ['rho', 'None']),
        (dict(type='StepFreezing', rho=2, by_epoch='yes'), ['by_epoch', 'yes']),
        (dict(type='StepFreezing'), ['StepFreezing', 'rho', 'missing']),
        (dict(type='StepFreezing', rho=2, rh=1), ['StepFreezing', "'rh'"]),
        (dict(type='StepFrezing', rho=2), ['StepFrezing', 'nearest: StepFreezing']),
        (dict(rho=2), ['type', 'StepFreezing']),
        ('StepFreezing', ['schedule', 'dict']),
        (7, ['schedule', '7']),
        (dict(type='MilestoneFreezing', train_epochs=[]), ['train_epochs', '[]', 'FrozenBackbone']),
        (dict(type='MilestoneFreezing', train_epochs=[5, 2]), ['train_epochs', '[5, 2]']),
        (dict(type='MilestoneFreezing', train_epochs=[2, 2]), ['train_epochs', 'increasing']),
        (dict(type='MilestoneFreezing', train_epochs=[-1, 2]), ['train_epochs', '-1']),
        (dict(type='MilestoneFreezing', train_epochs=[1.5]), ['train_epochs', '1.5']),
        (dict(type='MilestoneFreezing', train_epochs='123'), ['train_epochs', "'123'"]),
        (dict(type='MilestoneFreezing', train_epochs=3), ['train_epochs', '3']),
        (dict(type='ProbeThenFinetune', probe=-1), ['probe', '-1']),
        (dict(type='ProbeThenFinetune', probe=1.0), ['probe', '1.0', 'share of the run in (0, 1)']),
        (dict(type='GradualUnfreezing', start=0, every=0), ['every', '0']),
        (dict(type='GradualUnfreezing', start='a', every=1), ['start', "'a'"]),
        (dict(type='FullTraining', rho=1), ['FullTraining', 'rho']),
    ],
)
def test_bad_schedules_are_one_clear_error(config, words):
    with pytest.raises(ValueError) as error:
        build_schedule(config)
    assert all(word in str(error.value) for word in words), error.value


def test_a_new_schedule_is_one_class():
    @FREEZING_SCHEDULES.register_module(name='OnlyStem')
    class OnlyStem(FreezingSchedule):
        def select(self, time, stages):
            return stages[:1]

    try:
        built = build_schedule(dict(type='OnlyStem', by_epoch=False))
        assert built.trainable(3, 3, STAGES) == {'stem'}
        assert repr(built) == 'OnlyStem(by_epoch=False)'
    finally:
        FREEZING_SCHEDULES.module_dict.pop('OnlyStem')


def test_an_object_with_only_a_method_is_taken():
    class Bare:
        def trainable(self, epoch, iteration, stages):
            return frozenset(stages if epoch == 2 else ())

    built = build_schedule(Bare())
    assert [bool(built.trainable(e, 0, STAGES)) for e in range(4)] == [False, False, True, False]
    assert list(phases(built, STAGES, 4))[1].start == 2
