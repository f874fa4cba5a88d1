"""How methods are combined in a config, in which order, and which pairs are refused."""

import json
from pathlib import Path

import pytest
import rig
from mmengine.config import Config

from mmbackbone_plugins.hooks.jsonl import read_lines

METHODS = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'methods'


# -- in a config ---------------------------------------------------------------------------------


def read(folder, base, *lines):
    path = folder / 'child.py'
    path.write_text('\n'.join([f'_base_ = {base!r}', *lines]))
    return Config.fromfile(path)


def kinds(cfg):
    return [hook.type for hook in cfg.custom_hooks]


def test_the_hooks_of_one_base_and_more(tmp_path):
    base = str(METHODS / 'dp_ft_rgn_reg.py')
    inherited = ['FreezingSchedulerHook', 'DistortionRegularizerHook']
    more = "custom_hooks = [*_base_.custom_hooks, dict(type='RGNHook')]"
    cfg = read(tmp_path, base, more)
    assert kinds(cfg) == [*inherited, 'RGNHook']
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    assert kinds(read(tmp_path, base, "custom_hooks = [dict(type='RGNHook')]")) == ['RGNHook']


@pytest.mark.parametrize('other', ['rgn.py', 'ewc.py'])
def test_two_fragments_side_by_side_are_an_error_of_mmengine(tmp_path, other):
    bases = [str(METHODS / 'dbf_rho10.py'), str(METHODS / other)]
    with pytest.raises(KeyError, match='Duplicate key is not allowed among bases'):
        read(tmp_path, bases)


def test_named_hooks_are_merged(tmp_path):
    """default_hooks is a dict: a child adds to it, and changes one option of one hook."""
    (tmp_path / 'watched.py').write_text(
        f'_base_ = {str(METHODS / "dbf_rho10.py")!r}\n'
        "default_hooks = dict(rgn=dict(type='RGNHook'), drift=dict(type='DriftHook'))\n"
    )
    cfg = read(tmp_path, 'watched.py', 'default_hooks = dict(rgn=dict(interval=5))')
    assert kinds(cfg) == ['FreezingSchedulerHook']
    assert cfg.default_hooks == dict(
        rgn=dict(type='RGNHook', interval=5), drift=dict(type='DriftHook')
    )
    cfg.merge_from_dict({'default_hooks.cost.type': 'TrainingCostHook'})  # --cfg-options
    assert list(cfg.default_hooks) == ['rgn', 'drift', 'cost']
    only = read(tmp_path, 'watched.py', 'default_hooks = dict(_delete_=True)')
    assert only.default_hooks == {}
    with pytest.raises(AssertionError):  # None takes out MMEngine's own names alone
        rig.runner(tmp_path / 'none', default_hooks=dict(rgn=None))


# -- their order ---------------------------------------------------------------------------------


EVERY = (
    dict(type='FreezingSchedulerHook', schedule=dict(type='ProbeThenFinetune', probe=1)),
    dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1, interval=1),
    dict(type='RGNHook', interval=1),
    dict(type='DriftHook', num_images=2),
    dict(type='EigenspectrumHook', num_batches=1, split='train'),
    dict(type='TrainingCostHook', interval=1),
)
ORDERS = {
    'reversed': ((5, 4, 3, 2, 1, 0), ()),
    'the watching ones by name': ((1, 0), (5, 2, 4, 3)),
}


def run(folder, order, named=()):
    blocks = rig.with_blocks(rig.resnet(), 'SEBlock', init='identity')
    keep = dict(type='CheckpointHook', interval=99)
    default = {f'our{i}': EVERY[i] for i in named}
    built = rig.runner(
        folder,
        hooks=[dict(EVERY[i]) for i in order],
        model=rig.detector('rotated-retinanet', backbone=blocks),
        epochs=2,
        length=4,
        default_hooks=dict(checkpoint=keep, logger=dict(type='LoggerHook', interval=1), **default),
    )
    built.train()
    return rig.recorder(built)


def records(folder):
    """All that the hooks have written, without times and places."""
    found = {}
    for name in ('rgn.jsonl', 'drift.jsonl', 'eigen.jsonl'):
        (path,) = folder.rglob(name)
        found[name] = read_lines(path)
    cost = json.loads((folder / 'cost.json').read_text())
    found['flops'] = cost['totals']['training_flops'], cost['totals']['full_training_flops']
    found['phases'] = {name: p['steps'] for name, p in cost['phases'].items()}
    return found


@pytest.fixture(scope='module')
def in_order(tmp_path_factory):
    folder = tmp_path_factory.mktemp('in-order')
    return run(folder, range(6)), records(folder)


@pytest.mark.parametrize('order', ORDERS)
def test_the_order_of_the_hooks_does_not_matter(order, in_order, tmp_path):
    before, written = in_order
    after = run(tmp_path, *ORDERS[order])
    assert not rig.equal(before.states[-1], after.states[-1])
    assert before.losses == after.losses and before.trains == after.trains
    assert records(tmp_path) == written
    assert len(written['rgn.jsonl']) == 4 and list(written['phases'].values()) == [2, 2]


# -- which of them go together -------------------------------------------------------------------


def freeze(kind='FrozenBackbone', target='backbone', **options):
    return dict(type='FreezingSchedulerHook', schedule=dict(type=kind, **options), target=target)


def held(target='backbone', importance='uniform', **options):
    settings = dict(importance=importance, target=target, num_batches=1, **options)
    return dict(type='DistortionRegularizerHook', **settings)


REFUSED = {
    'two schedules': ([freeze(), freeze(target='neck')], 'two FreezingSchedulerHooks'),
    'a schedule by name and one in the list': ([freeze(), freeze('FullTraining')], 'two Freezing'),
    'a regulariser under a frozen backbone': (
        [freeze(), held()],
        r'nothing to regularise: every parameter is left \(never trains\)',
    ),
    'two regularisers of one target': ([held(), held()], 'must not overlap'),
    'two that meet in a stage': ([held(), held('backbone.layer4')], 'must not overlap'),
    'two of drift': ([dict(type='DriftHook')] * 2, 'two DriftHooks'),
    'two of spectra': (
        [dict(type='EigenspectrumHook', split='train')] * 2,
        'two EigenspectrumHooks',
    ),
    'two ledgers': ([dict(type='TrainingCostHook')] * 2, 'two TrainingCostHooks'),
}


@pytest.mark.parametrize('pair', REFUSED)
def test_refused_before_the_first_step(pair, tmp_path):
    hooks, words = REFUSED[pair]
    built = rig.runner(tmp_path, hooks=[dict(h) for h in hooks], epochs=1, length=2)
    with pytest.raises(ValueError, match=words):
        built.train()
    assert built.iter == 0


def test_an_average_of_the_weights_changes_nothing_for_the_others(tmp_path):
    """Everything measures, holds and freezes the weights that train."""
    hooks = [
        dict(type='EMAHook', momentum=0.5),
        freeze('StepFreezing', rho=2),
        held(),
        dict(type='DriftHook', num_images=0),
    ]
    runs = [rig.train(tmp_path / str(i), hooks=hooks[i:], epochs=2, length=2) for i in (0, 1)]
    assert not rig.equal(runs[0].states[-1], runs[1].states[-1])
    drift = [read_lines(next((tmp_path / str(i)).rglob('drift.jsonl'))) for i in (0, 1)]
    assert drift[0] == drift[1] and len(drift[0]) == 2
