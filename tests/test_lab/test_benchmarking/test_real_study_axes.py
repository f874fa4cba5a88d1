"""The axes of the study on real pictures: what their page says are the committed results."""

import numpy as np
import pytest
from mmengine.config import Config
from real_study import (
    ROOT,
    STUDY,
    by_method,
    compared,
    difference,
    holm,
    interval,
    mean,
    norm,
    of_plan,
    read,
    share_of_full,
    shown,
    signed,
    tables,
)
from scipy import stats

from mmbackbone_plugins.lab.benchmarking import load_results, read_plan

TABLES = tables('axes.md')


@pytest.fixture(scope='module')
def by_labels():
    """By number of tiles, method and seed; of all tiles the seeds that the others have."""
    found = {'400': of_plan(seeds=3)}
    runs = load_results(STUDY / 'axes') + load_results(STUDY / 'few_labels')
    for tiles in ('160', '40'):
        found[tiles] = by_method(r for r in runs if r.dataset == f'night-{tiles}')
    return found


def test_fewer_labels(by_labels):
    _, *rows = TABLES['Fewer labels']
    assert [row[0] for row in rows] == ['400'] * 5 + ['160'] * 5 + ['40'] * 5
    for tiles, method, count, night, day, *differences in rows:
        found = by_labels[tiles]
        assert int(count) == len(found[method])
        assert [night, day] == [mean(found, method, test) for test in ('night', 'day')]
        assert differences == [compared(found, method, test) for test in ('night', 'day')]


def test_fewer_labels_in_other_pages(by_labels):
    few = by_labels['40']
    night, day = (interval(difference(few, 'frozen', test)) for test in ('night', 'day'))
    for name in ('docs/howto/which_part.md', 'docs/evidence.md'):
        assert f'by night {night}, by day {day}' in read(name)
    full = [mean(by_labels[tiles], 'full', 'day') for tiles in ('40', '400')]
    text = 'full by day, {} AP50 with 40 tiles, {} with 400'.format(*full)
    assert text in read('docs/howto/which_part.md')
    assert len(few['frozen']) == 6


def test_the_question_of_few_labels(monkeypatch):
    """Its three seeds alone are tested; they are trained as the others."""
    found = by_method(load_results(STUDY / 'few_labels'))
    monkeypatch.chdir(ROOT)
    axes, few = (
        {(r.dataset, r.method): r.options for r in read_plan(f'configs/hituav/{name}.yml').runs}
        for name in ('axes', 'few_labels')
    )
    assert few.items() <= axes.items()
    assert {tuple(sorted(by_seed)) for by_seed in found.values()} == {(3, 4, 5)}
    p = {m: stats.ttest_1samp(difference(found, m), 0).pvalue for m in found if m != 'full'}
    _, *rows = TABLES['Asked once more']
    assert {row[0] for row in rows} == set(p)
    for method, values, with_interval, one, corrected in rows:
        by_seed = difference(found, method)
        assert (values, with_interval) == (signed(by_seed), interval(by_seed))
        assert (one, corrected) == (f'{p[method]:.2f}', f'{holm(p, method):.2f}')


def test_visible_light():
    found = by_method(load_results(STUDY / 'cars'))
    _, *rows = TABLES['Visible light']
    assert {row[0] for row in rows} == set(found)
    for method, count, share, *scores, drone, plane in rows:
        assert (int(count), share) == (len(found[method]), share_of_full(found[method]))
        columns = [(t, metric) for metric in ('AP50', 'mAP') for t in ('minsk', 'kit')]
        assert scores == [mean(found, method, *column) for column in columns]
        assert [drone, plane] == [compared(found, method, test) for test in ('minsk', 'kit')]
    text = read('docs/real_study/axes.md')
    full = [f'{100 * found["full"][seed].scores["kit"]["AP50"]:.1f}' for seed in (0, 1, 2)]
    assert f'full scores {", ".join(full)} there' in text
    frozen, dp_ft = (signed(difference(found, m, 'kit')) for m in ('frozen', 'dp-ft'))
    assert f'frozen has {frozen} and DP-FT {dp_ft}.' in text
    plane = {m: interval(difference(found, m, 'kit')) for m in found if m != 'full'}
    assert f'not measurably behind, {plane["frozen"]}' in read('docs/howto/which_part.md')
    sentence = 'frozen {frozen}, DP-FT {dp-ft}, its interpolation {interpolated}'
    assert sentence.format(**plane) in read('docs/evidence.md')
    for test in ('minsk', 'kit'):
        gain = difference(found, 'interpolated', test) - difference(found, 'dp-ft', test)
        assert (gain >= 0).all()  # "never below DP-FT"


def test_larger_backbones():
    runs = load_results(STUDY / 'backbones')
    found = {name: by_method(r for r in runs if r.detector == name) for name in ('lite1', 'lite2')}
    found['lite0'] = of_plan(seeds=3)
    _, *rows = TABLES['Larger backbones']
    assert {row[0] for row in rows} == set(found)
    for name, count, rgn, *scores, night, day in rows:
        results = found[name]
        assert int(count) == len(results['full']) == len(results['frozen'])
        assert rgn == f'{norm(results, "full"):.3f}'
        columns = [(method, test) for test in ('night', 'day') for method in ('full', 'frozen')]
        assert scores == [mean(results, *column) for column in columns]
        gains = [shown(-difference(results, 'frozen', test)) for test in ('night', 'day')]
        assert [night, day] == gains
    norms = [norm(f, 'full') for f in found.values()]
    by_day = [-difference(f, 'frozen').mean() for f in found.values()]
    r = f'r = {signed(np.corrcoef(norms, by_day)[:1, 1], 2)}'
    assert f'over them {r} for the norm' in read('docs/real_study/axes.md')
    assert f'have {r}, from −1 to +1' in read('docs/evidence.md')
    assert np.isclose(-difference(found['lite2'], 'frozen', 'night')[0], 0, atol=0.1)


@pytest.mark.parametrize(
    'folder, plan',
    [
        ('study', 'hituav/plan'),
        ('axes', 'hituav/axes'),
        ('few_labels', 'hituav/few_labels'),
        ('backbones', 'hituav/backbones'),
        ('cars', 'cars/plan'),
    ],
)
def test_results_are_those_of_the_plan(folder, plan, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = {run.name: run for run in read_plan(f'configs/{plan}.yml').runs}
    found = load_results(STUDY / folder)
    assert found
    for result in found:
        run = runs[result.name]
        assert result.state == 'finished' and result.config == run.config
        assert run.options.items() <= result.options.items()
        assert result.validation == ['val'] and result.in_domain == [run.in_domain[0]]


@pytest.mark.parametrize('name', ['cars/plan', 'hituav/second', 'hituav/backbones'])
def test_further_plans(name, monkeypatch):
    """Methods differ in their hooks alone, and the backbone trains as in the first study."""
    monkeypatch.chdir(ROOT)
    runs = read_plan(f'configs/{name}.yml').runs
    first = Config.fromfile('configs/hituav/_base_/rotated-retinanet_effnet-lite0_fpn.py')
    configs = {r.method: Config.fromfile(r.config) for r in runs if r.seed == 0}
    expected = configs['full'].to_dict()
    for method, cfg in configs.items():
        hooks = cfg.pop('custom_hooks', None)
        if method.startswith('auto-rgn'):  # rates by stage need groups by stage
            assert cfg.optim_wrapper.pop('constructor') == 'StageOptimWrapperConstructor'
        assert cfg.to_dict() == expected and (hooks is None) == (method == 'full')
    for part in ('backbone', 'neck'):
        assert configs['full'].model[part] == first.model[part]
    assert configs['full'].optim_wrapper == first.optim_wrapper
    for run in runs:
        assert run.validation == ('val',) and len(run.tests) == 3
        if run.after:
            assert run.after['choose']['metric'] == run.tests[0].metric
