"""A schedule over stages, added blocks among them."""

import pytest
from torch import nn

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


def test_what_is_set_apart_trains_at_all_times():
    backbone = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Dropout()),
        nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        nn.LayerNorm(2),
    )
    model = nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(2, 1)))
    plan = FreezePlan(GradualUnfreezing(1, 1), StageMap.of(model))
    new = ['backbone.1.0.weight', 'backbone.1.0.bias']
    found = plan.keep(model, [r'1\.bias', '^2']).release(model, new)
    assert found.stage_map.names == ('0', 'keep_trainable', 'unloaded')
    assert found.ruled == ('0',) and found.free == {'keep_trainable', 'unloaded'}
    kept, unloaded = (found.stage_map[n] for n in ('keep_trainable', 'unloaded'))
    names = ('backbone.0.1.bias', 'backbone.2.weight', 'backbone.2.bias')
    assert kept.parameters == names and kept.modules == ('backbone.0.1', 'backbone.2')
    assert unloaded.parameters == tuple(new)
    assert unloaded.modules == ('backbone.1', 'backbone.1.0', 'backbone.1.1')
    assert [p.trainable for p in found.phases(3)] == [found.free, found.free | {'0'}]
    # The rest is where it was, and everything is in one stage.
    everything = [n for s in found.stage_map for n in s.parameters]
    assert sorted(everything) == sorted(f'backbone.{n}' for n, _ in backbone.named_parameters())
    assert plan.keep(model, ()) is plan and plan.release(model, ()) is plan
