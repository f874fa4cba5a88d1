"""Every method through tools/train.py: two ranks, then four that resume it, then one process.

The epochs of a run: 0 and 1 on two ranks, 2 on four, 3 on one. Beside it the same two epochs on one
process from the start, for what must not depend on the ranks.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import runs
import zoo
from mmengine.config import Config

from mmbackbone_plugins import hooks
from mmbackbone_plugins.hooks.jsonl import read_lines

# The time-out is for a machine that others use too.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
every = pytest.mark.parametrize('method', runs.METHODS)
PARTS = ((2, 2), (4, 3), (1, 4))  # ranks, and the epochs that are done when they end
STEPS = {2: 2 * 2, 4: 1, 1: 4}  # of 4 images, one a step and rank
HELD = ('uniform', 'rgn-reg', 'ewc', 'fisher', 'combined')
WATCHED = {
    'rgn-lr': ('rgn_lr.jsonl',),
    'rgn': ('rgn.jsonl', 'drift.jsonl'),
    'eigen': ('eigen.jsonl',),
    'combined': ('rgn.jsonl', 'drift.jsonl', 'eigen.jsonl'),
}


@pytest.fixture(scope='module')
def root(request, tmp_path_factory, data_root):
    """The folder in which the methods have run that the chosen tests are about."""
    chosen = {i.callspec.params.get('method') for i in request.session.items if _here(i)}
    methods = [m for m in runs.METHODS if m in chosen]
    folder = tmp_path_factory.mktemp('methods')
    for ranks, epochs in PARTS:
        jobs = [job(folder, m, data_root, f'{ranks}', epochs, ranks != 2) for m in methods]
        if ranks == 1:
            alone = [m for m in ('eigen', 'cost') if m in methods]
            jobs += [job(folder, m, data_root, 'alone', 2, False) for m in alone]
        runs.train_many(ranks, jobs)
    return folder


def _here(item):
    return item.path == Path(__file__) and hasattr(item, 'callspec')


def job(folder, method, data_root, part, epochs, resume):
    report = dict(type='RankReport', out=str(folder / 'reports' / method / part))
    configs = folder / f'configs-{part}'
    path = runs.write_config(configs, method, data_root, hooks=(report,), log_level='WARNING')
    work_dir = folder / ('alone' if part == 'alone' else 'work') / method
    options = ['--cfg-options', f'train_cfg.max_epochs={epochs}']
    return [path, '--work-dir', work_dir, *(['--resume'] if resume else []), *options]


@pytest.fixture
def reports(root, method):
    """What each rank of each part has reported, by number of ranks."""
    return {n: runs.reports(root / 'reports' / method / f'{n}', n) for n, _ in PARTS}


def schedule_of(method):
    """Epochs in which the backbone trains; written down here, not asked of the schedules."""
    stepping = dict.fromkeys(('dbf', 'rgn', 'cost', 'projection', 'rgn-lr'), (0, 2))
    return dict(stepping, cache=()).get(
        method, (1, 2, 3) if method in ('se', 'adapter', 'combined') else (0, 1, 2, 3)
    )


@every
def test_ranks_end_with_the_same_bits(method, reports):
    for ranks in (2, 4):
        first = reports[ranks][0]
        assert first['wrapper'] == 'MMDistributedDataParallel'
        for other in reports[ranks][1:]:
            for key in ('weights', 'optimizer', 'importance', 'trains', 'start', 'end'):
                assert other[key] == first[key], key
            held = other['anchors'].get('DistortionRegularizerHook')
            assert held == first['anchors'].get('DistortionRegularizerHook')
            assert (held is not None) == (method in HELD)
    weights = [reports[n][0]['weights'] for n in (2, 4, 1)]
    assert len(set(weights)) == 3  # each part has trained


@every
def test_the_schedule_goes_on_by_epoch_whatever_the_ranks(method, reports):
    iteration = 0
    for ranks, end in PARTS:
        epochs = range(0 if ranks == 2 else end - 1, end)
        report = reports[ranks][0]
        assert list(report['trains']) == [str(e) for e in epochs]
        assert report['start'] == iteration
        iteration += STEPS[ranks]
        assert report['end'] == iteration
        for epoch in epochs:
            parts = report['trains'][str(epoch)]
            trains = [p for p in parts if p.startswith('backbone.layer')]
            assert bool(trains) == (epoch in schedule_of(method)), (epoch, parts)
            assert ('backbone.blocks' in parts) == (method in ('se', 'adapter', 'combined'))
            assert {'neck'} < set(parts)


@every
def test_what_a_run_started_with_comes_along(method, reports):
    anchors = [reports[n][0]['anchors'] for n, _ in PARTS]
    importance = [reports[n][0]['importance'] for n, _ in PARTS]
    assert anchors[0] == anchors[1] == anchors[2]
    assert importance[0] == importance[1] == importance[2]
    assert bool(anchors[0]) == (method in (*HELD, 'rgn', 'projection'))
    assert bool(importance[0]) == (method in HELD and method != 'uniform')


@every
def test_one_rank_writes(method, reports, root):
    for ranks, _ in PARTS:
        assert reports[ranks][0]['written']
        for other in reports[ranks][1:]:
            assert other['written'] == []
    work_dir = root / 'work' / method
    found = [p.relative_to(work_dir) for p in work_dir.rglob('*') if p.is_file()]
    names = [p.name for p in found]
    ours = [n for n in names if n.endswith('.jsonl') or n == 'cost.json']
    wanted = [*WATCHED.get(method, ()), *(['cost.json'] if method in ('cost', 'combined') else [])]
    assert sorted(ours) == sorted(wanted)
    estimates = [n for n in names if n.startswith('importance-')]
    assert len(estimates) == (method in HELD and method != 'uniform')
    # A start's own folder has mmengine's log, the config and the scalars, each once.
    starts = {p.parts[0] for p in found if len(p.parts) > 1}
    assert len(starts) == len(PARTS)
    assert not [n for n in names if n.endswith(('.part', '.new', '.superseded'))]
    spectra = sorted(n for n in names if n.endswith('.npz'))
    eigen = 'eigen.jsonl' in WATCHED.get(method, ())
    assert spectra == ([f'epoch_{e}.npz' for e in range(5)] if eigen else [])


@every
def test_records_have_no_gap_and_no_repeat(method, root):
    work_dir = root / 'work' / method
    for name in WATCHED.get(method, ()):
        (path,) = work_dir.rglob(name)
        lines = read_lines(path)
        found = [line['iter'] for line in lines]
        assert found == sorted(set(found))
        if name == 'rgn.jsonl':
            assert found == list(range(1, sum(STEPS.values()) + 1))  # interval 1
        else:
            assert [line['epoch'] for line in lines] == [
                *([0] if name == 'eigen.jsonl' else []),
                *((1, 3) if name == 'rgn_lr.jsonl' else (1, 2, 3, 4)),  # the others are frozen
            ]


def eigenvalues(work_dir):
    (folder,) = work_dir.rglob('eigenspectrum')
    content = np.load(folder / 'epoch_0.npz', allow_pickle=False)
    return {k: content[k] for k in content.files if content[k].dtype.kind == 'f'}


@pytest.mark.parametrize('method', ['eigen'])
def test_spectra_of_the_same_weights_and_images_are_those_of_one_process(method, root):
    two, alone = eigenvalues(root / 'work' / 'eigen'), eigenvalues(root / 'alone' / 'eigen')
    assert two.keys() == alone.keys() and len(two) > 8
    for name, values in two.items():
        largest = np.abs(alone[name]).max()
        np.testing.assert_allclose(values, alone[name], rtol=1e-6, atol=1e-9 * largest)


@pytest.mark.parametrize('method', ['cost'])
def test_costs_add_up(method, root):
    """FLOPs are those of the images, on however many ranks; only what is sent depends on them."""
    work = json.loads((root / 'work' / 'cost' / 'cost.json').read_text())
    alone = json.loads((root / 'alone' / 'cost' / 'cost.json').read_text())
    assert [p['ranks'] for p in work['parts']] == [2, 4, 1]
    assert work['totals']['steps'] == sum(STEPS.values()) and alone['totals']['steps'] == 8
    assert alone['totals']['communicated_bytes'] == 0 < work['totals']['communicated_bytes']
    # Two epochs of 4 images against four of them, each pair with one epoch full and one frozen.
    assert work['totals']['training_flops'] == 2 * alone['totals']['training_flops']
    assert work['totals']['saving'] == pytest.approx(alone['totals']['saving'])


@pytest.mark.parametrize('method', ['cost'])
def test_reduced_bytes_are_those_of_what_trains(method, root):
    work = json.loads((root / 'work' / 'cost' / 'cost.json').read_text())
    cfg = Config.fromfile(root / 'configs-2' / 'cost.py')
    model = zoo.build_model(cfg)
    model.train()
    sizes = {n: p.numel() * 4 for n, p in model.named_parameters() if p.requires_grad}
    head = sum(s for n, s in sizes.items() if not n.startswith('backbone.'))
    # On two ranks 2 full and 2 frozen steps, on four 1 full one; the last process sends nothing.
    phases = {name: p['communicated_bytes'] for name, p in work['phases'].items()}
    assert phases == dict(full=3 * sum(sizes.values()), frozen=2 * head)


def test_the_real_command_line_with_everything(data_root, tmp_path):
    """torchrun, the tool, and all methods at once: on two ranks, resumed on four."""
    out = tmp_path / 'reports'
    for ranks, epochs in ((2, 2), (4, 3)):
        report = dict(type='RankReport', out=str(out / f'{ranks}'))
        path = runs.write_config(tmp_path / f'configs-{ranks}', 'combined', data_root, (report,))
        more = ['--resume'] if ranks == 4 else []
        runs.train(
            ranks,
            *(path, '--work-dir', tmp_path / 'work', *more),
            *('--cfg-options', f'train_cfg.max_epochs={epochs}'),
        )
        found = runs.reports(out / f'{ranks}', ranks)
        assert len({r['weights'] for r in found}) == len({r['optimizer'] for r in found}) == 1
        assert found[-1]['written'] == []
    assert found[0]['start'] == 4 and list(found[0]['trains']) == ['2']
    assert (tmp_path / 'work' / 'epoch_3.pth').exists()


def test_counting_full_fine_tuning_waits_for_no_other_rank(data_root, tmp_path):
    """Rank 0 alone counts, with a loss that averages over ranks."""
    loss = dict(type='AveragedLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
    changes = {
        'custom_hooks.0.schedule': dict(_delete_=True, type='FrozenBackbone'),
        'model.bbox_head.loss_cls': dict(_delete_=True, **loss),
    }
    path = runs.write_config(tmp_path / 'configs', 'cost', data_root, **changes)
    work_dir = tmp_path / 'work'
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    runs.train_many(2, [[path, '--work-dir', work_dir, *options]], timeout=300)
    found = json.loads((work_dir / 'cost.json').read_text())
    assert found['totals']['steps'] == 2 and 0.1 < found['totals']['saving'] < 0.9


def test_every_hook_is_in_the_matrix():
    used = set()
    for method, (_, changes) in runs.METHODS.items():
        cfg = runs.zoo_config(method)
        cfg.merge_from_dict(changes)
        used |= {h.type for h in [*cfg.custom_hooks, *cfg.default_hooks.values()]}
    assert {name for name in hooks.__all__ if name.endswith('Hook')} < used
