"""A schedule over stages, added blocks among them."""

import pytest

from mmbackbone_plugins import FreezePlan, GradualUnfreezing, Stage, StageMap, StepFreezing
from mmbackbone_plugins.freezing import Phase

STAGES = StageMap(
    [
        Stage('stem', ('a',), ()),
        Stage('stem.block', ('b',), (), is_block=True),
        Stage('stage1', ('c',), ()),
    ]
)


def test_blocks_train_at_all_times_unless_they_are_ruled():
    plan = FreezePlan(StepFreezing(2), STAGES)
    assert (plan.ruled, plan.free) == (('stem', 'stage1'), {'stem.block'})
    assert plan.trainable(0, 7) == {'stem', 'stem.block', 'stage1'}
    assert plan.trainable(1, 8) == {'stem.block'}
    ruling = FreezePlan(StepFreezing(2), STAGES, freeze_blocks=True)
    assert (ruling.ruled, ruling.free) == (STAGES.names, frozenset())
    assert ruling.trainable(1, 8) == frozenset()


@pytest.mark.parametrize('freeze_blocks', [False, True])
def test_phases_are_what_trains_at_each_time(freeze_blocks):
    plan = FreezePlan(GradualUnfreezing(1, 2), STAGES, freeze_blocks)
    found = plan.phases(7)
    assert [t for p in found for t in range(p.start, p.end)] == list(range(7))
    assert all(p.trainable == plan.trainable(t, t) for p in found for t in range(p.start, p.end))
    assert all(a.trainable != b.trainable for a, b in zip(found, found[1:]))


def test_a_run_of_no_length_has_no_phase():
    assert FreezePlan(StepFreezing(2), STAGES).phases(0) == ()
    assert FreezePlan(StepFreezing(1), STAGES).phases(3) == (Phase(0, 3, frozenset(STAGES.names)),)
