"""Phases are called what a reader looks for."""

import pytest

from mmbackbone_plugins import Stage, StageMap, build_schedule
from mmbackbone_plugins.cost import first_training, phase_name
from mmbackbone_plugins.cost.naming import PhaseNames
from mmbackbone_plugins.freezing import phases

STAGES = ['stem', 'stage1', 'stage2']
BLOCKS = ['stage1', 'stage1.block', 'stage2', 'stage2.block']
ADDED = {'stage1.block', 'stage2.block'}


@pytest.mark.parametrize(
    'training, trainable, options, expected',
    [
        (STAGES, STAGES, {}, 'full'),
        ([], STAGES, {}, 'frozen'),
        ([], STAGES, dict(probing=True), 'probing'),
        (['stage2'], STAGES, {}, 'stage2'),
        (['stage2', 'stage1'], STAGES, dict(probing=True), 'stage1+stage2'),
        (['stage1.block', 'stage2.block'], BLOCKS, dict(blocks=ADDED), 'blocks'),
        (['stage2', 'stage1.block', 'stage2.block'], BLOCKS, dict(blocks=ADDED), 'stage2'),
        (['block'], ['reduce', 'block'], {}, 'block'),
        (STAGES, STAGES, dict(rest=False), 'stem+stage1+stage2, part of the rest'),
        ([], STAGES, dict(rest=False), 'frozen, part of the rest'),
        ([], [], {}, 'frozen'),
    ],
)
def test_names(training, trainable, options, expected):
    assert phase_name(training, trainable, **options) == expected


@pytest.mark.parametrize(
    'schedule, expected',
    [
        (dict(type='FullTraining'), 0),
        (dict(type='FrozenBackbone'), None),
        (dict(type='StepFreezing', rho=3), 0),
        (dict(type='MilestoneFreezing', train_epochs=[2, 5]), 2),
        (dict(type='ProbeThenFinetune', probe=4), 4),
        (dict(type='ProbeThenFinetune', probe=90), None),
        (dict(type='GradualUnfreezing', start=1, every=2), 1),
    ],
)
def test_when_the_target_begins_to_train(schedule, expected):
    assert first_training(phases(build_schedule(schedule), STAGES, 8), STAGES) == expected


def test_names_by_the_parameters_that_train():
    stages = [Stage('stage1', ('a', 'b'), ()), Stage('stage1.block', ('c',), (), is_block=True)]
    names = PhaseNames(StageMap(stages), frozenset('abch'), begins=2)
    found = {t: names.name(frozenset(t), 2) for t in ('abch', 'ach', 'ah', 'ch', 'h', 'ab', '')}
    assert found == {
        'abch': 'full',
        'ach': 'full, in part',
        'ah': 'stage1',
        'ch': 'blocks',
        'h': 'frozen',
        'ab': 'stage1, part of the rest',
        '': 'frozen, part of the rest',
    }
    assert names.name(frozenset('h'), 1) == 'probing'
    assert names.stages(frozenset('ach')) == ['stage1', 'stage1.block']
