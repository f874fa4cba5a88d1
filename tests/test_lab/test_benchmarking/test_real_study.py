"""The pages of the study on real pictures: their numbers are those of the committed results."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmengine.config import Config
from reading import markdown_tables
from scipy import stats

from mmbackbone_plugins.lab.benchmarking import load_results, read_plan
from mmbackbone_plugins.lab.benchmarking.repeats import load_repeats

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / 'docs/real_study'
PAGE = (STUDY / 'index.md').read_text(encoding='utf-8')
TABLES = markdown_tables(PAGE)
TRIALS = {
    'full': 'full',
    'DP-FT': 'dp-ft',
    'L2-SP': 'l2sp',
    'RGN regulariser': 'rgn-reg',
    'EWC': 'ewc',
    'SPD': 'spd',
    'Auto-RGN': 'auto-rgn',
    'Auto-RGN, sign −1': 'auto-rgn-inverse',
}


def cells(label):
    (row,) = re.findall(rf'^\| {re.escape(label)} \| ([^|]+ \| [^|]+ \| [^|]+) \|$', PAGE, re.M)
    return [cell.strip() for cell in row.split('|')]


@pytest.mark.parametrize('label', TRIALS)
def test_trials_and_what_was_chosen(label):
    method = TRIALS[label]
    folder = 'tuning_full' if method == 'full' else 'tuning'
    name = 'chosen_full.yml' if method == 'full' else 'chosen.yml'
    chosen = yaml.safe_load((ROOT / 'configs/hituav' / name).read_text())[method]
    found = [r for r in load_results(STUDY / folder) if r.method.split('@')[0] == method]
    assert [r.method for r in found] == [f'{method}@{i}' for i in (1, 2, 3)]
    _, settings, scores = cells(label)
    (place,) = [i for i, text in enumerate(settings.split(', ')) if '**' in text]
    values = [list(trial['options'].values())[0] for trial in chosen['trials']]
    assert [float(text.strip('*')) for text in settings.split(', ')] == values
    for result, text, trial in zip(found, scores.split(', '), chosen['trials']):
        score = result.scores['val']['AP50']
        assert text.strip('*') == f'{100 * score:.1f}'
        assert round(score, 4) == trial['AP50']
        assert trial['options'].items() <= result.options.items()
    best = max(range(3), key=lambda i: found[i].scores['val']['AP50'])
    assert place == best and chosen['options'] == chosen['trials'][best]['options']


def by_method(runs):
    """Results by method and seed."""
    found = {}
    for r in runs:
        found.setdefault(r.method, {})[r.seed] = r
    return found


@pytest.fixture(scope='module')
def results():
    return by_method(load_results(STUDY / 'study'))


def difference(results, method, test):
    """AP50 minus that of full fine-tuning, in percent, of every seed that both have."""
    seeds = sorted(results[method].keys() & results['full'].keys())
    found = {m: [results[m][s].scores[test]['AP50'] for s in seeds] for m in (method, 'full')}
    return 100 * (np.array(found[method]) - found['full'])


def by_day(results, method):
    return difference(results, method, 'day')


def signed(values):
    return ', '.join(f'{value:+.1f}' for value in values).replace('-', '−')


def interval(values):
    """The mean with its 95 % t-interval, as pages write it."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    mean = values.mean()
    return f'{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]'.replace('-', '−')


def share_of_full(found):
    return (
        f'{100 * np.mean([r.cost["flops"] / r.cost["full_flops"] for r in found.values()]):.0f} %'
    )


def holm(p, method):
    """The largest, over all p up to this one, of p times how many are not below it; at most 1."""
    steps = [q * sum(other >= q for other in p.values()) for q in p.values() if q <= p[method]]
    return min(1, max(steps))


def test_differences_to_full(results):
    """The primary question: who is tested, the tests, and Holm's correction of them."""
    _, *rows = TABLES['Differences to full']
    p = {
        m: stats.ttest_1samp(by_day(results, m), 0).pvalue
        for m in results
        if m != 'full' and len(results[m]) == 5
    }
    assert len(p) == 5
    assert {row[0] for row in rows} == {m for m in results if m != 'full' and len(results[m]) > 2}
    for method, count, share, day, one, corrected, night in rows:
        assert int(count) == len(results[method]) and share == share_of_full(results[method])
        assert day == interval(by_day(results, method))
        assert night == interval(difference(results, method, 'night'))
        if method not in p:
            assert (one, corrected) == ('not tested', '')
            continue
        assert (one, corrected) == (f'{p[method]:.2f}', f'{holm(p, method):.2f}')


def test_the_table(results):
    _, *rows = TABLES['All methods']
    assert {row[0] for row in rows} == set(results)

    def score(method, seed, test, metric='AP50'):
        return 100 * results[method][seed].scores[test][metric]

    columns = [(d, 'AP50') for d in ('val', 'night', 'day')] + [('night', 'mAP'), ('day', 'mAP')]
    for method, count, share, *means, differences in rows:
        seeds = sorted(results[method])
        assert int(count) == len(seeds) and share == share_of_full(results[method])
        expected = [np.mean([score(method, seed, *column) for seed in seeds]) for column in columns]
        assert means == [f'{value:.1f}' for value in expected]
        assert differences == ('' if method == 'full' else signed(by_day(results, method)))


def test_what_five_seeds_cannot_see(results):
    spread = [by_day(results, m).var(ddof=1) for m in results if m != 'full']
    sd = np.mean(spread) ** 0.5
    half = stats.t.ppf(0.975, 4) * sd / 5**0.5
    text = ' '.join(PAGE.split())
    assert f'changes by {sd:.1f} points (standard deviation)' in text
    assert f'five seeds leave {half:.1f} points up and down' in text


def test_the_report(results):
    tables = markdown_tables((STUDY / 'report.md').read_text(encoding='utf-8'))
    (title,) = [name for name in tables if name.startswith('Scores and cost')]
    header, *rows = tables[title]
    found = {row[0].split()[0]: dict(zip(header, row)) for row in rows}
    assert set(found) == set(results)
    for method, row in found.items():
        scores = [r.scores for r in results[method].values()]
        assert int(row['n']) == len(scores)
        for test, column in (('night', 'AP50 %'), ('day', 'OOD AP50 %')):
            mean = 100 * np.mean([s[test]['AP50'] for s in scores])
            assert row[column].split(' ±')[0] == f'{mean:.1f}'
    for picture in re.findall(r'\((figures/[^)]+)\)', (STUDY / 'report.md').read_text()):
        assert (STUDY / picture).is_file()


def test_rgn_and_the_gain_by_day(results):
    """The sentence on it, worked out once more."""
    methods = [m for m in results if all(r.rgn for r in results[m].values())]
    rgn = np.array([np.mean([r.rgn['median'] for r in results[m].values()]) for m in methods])
    gain = np.array([np.mean(by_day(results, m)) for m in methods])
    r = np.corrcoef(rgn, gain)[0, 1]
    ends = [np.corrcoef(np.delete(rgn, i), np.delete(gain, i))[0, 1] for i in range(len(methods))]
    shown = [f'{v:+.2f}'.replace('-', '−') for v in (r, min(ends), max(ends))]
    text = 'over {} methods r = {}, from {} to {} when one is left out'
    for page in (PAGE, (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')):
        assert text.format(len(methods), *shown) in ' '.join(page.split())


def test_differences_in_pages(results):
    pages = ['docs/howto/which_part.md', 'docs/evidence.md', 'docs/real_study/index.md']
    text = ' '.join((ROOT / page).read_text(encoding='utf-8') for page in pages)
    number = r'[+−]\d+\.\d'
    with_interval = re.findall(rf'`([a-z0-9-]+)` ({number} \[{number}, {number}\])', text)
    by_seed = re.findall(rf'`([a-z0-9-]+)` ({number}(?:, {number})*)(?! \[|\d|, [+−])', text)
    assert len(with_interval) > 3 and len(by_seed) > 3
    for method, shown in with_interval:
        assert shown == interval(by_day(results, method)), method
    for method, shown in by_seed:
        assert shown == signed(by_day(results, method)), method


def test_corrupted_pictures(results):
    _, *rows = TABLES['Corrupted pictures']
    files = {path.stem: path for path in (STUDY / 'robustness').glob('*.json')}
    assert {row[0] for row in rows} == set(files)
    for method, clean, *means, kept in rows:
        cells = json.loads(files[method].read_text())['cells']
        scores = {name: 100 * cell['oriented/AP50'] for name, cell in cells.items()}
        untouched = scores.pop('clean')
        assert len(scores) == 12 and clean == f'{untouched:.1f}'
        # The weights are those of the table: its score comes back.
        assert untouched / 100 == pytest.approx(results[method][1].scores['night']['AP50'])
        for severity, shown in zip((1, 3), means):
            found = [v for name, v in scores.items() if name.endswith(f'_{severity}')]
            assert len(found) == 6 and shown == f'{np.mean(found):.1f}'
        assert kept == f'{100 * np.mean(list(scores.values())) / untouched:.0f} %'


def test_the_run_that_was_repeated():
    (found,) = load_repeats(STUDY / 'study')
    assert found['differ'] == 0 and found['same_scores']
    assert f'0 of {found["tensors"]} tensors differ' in PAGE and found['run'] in PAGE


@pytest.mark.parametrize('folder, plan', [('study', 'plan'), ('axes', 'axes'), ('few_labels',) * 2])
def test_results_are_those_of_the_plan(folder, plan, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = {run.name: run for run in read_plan(f'configs/hituav/{plan}.yml').runs}
    found = load_results(STUDY / folder)
    assert found
    for result in found:
        run = runs[result.name]
        assert result.state == 'finished' and result.config == run.config
        assert run.options.items() <= result.options.items()
        assert result.validation == ['val'] and result.in_domain == [run.in_domain[0]]


@pytest.fixture(scope='module')
def by_labels(results):
    """By number of tiles, method and seed; of all tiles the seeds that the others have."""
    found = {
        '400': {m: {s: by_seed[s] for s in by_seed if s < 3} for m, by_seed in results.items()}
    }
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
        for test, shown in (('night', night), ('day', day)):
            mean = np.mean([100 * r.scores[test]['AP50'] for r in found[method].values()])
            assert shown == f'{mean:.1f}'
        if method != 'full':
            values = [difference(found, method, test) for test in ('night', 'day')]
            assert differences == [interval(v) if len(v) > 2 else signed(v) for v in values]


def test_fewer_labels_in_other_pages(by_labels):
    few = by_labels['40']
    night, day = (interval(difference(few, 'frozen', test)) for test in ('night', 'day'))
    for name in ('docs/howto/which_part.md', 'docs/evidence.md'):
        text = ' '.join((ROOT / name).read_text(encoding='utf-8').split())
        assert f'by night {night}, by day {day}' in text
    full = [
        np.mean([100 * r.scores['day']['AP50'] for r in by_labels[tiles]['full'].values()])
        for tiles in ('40', '400')
    ]
    text = (ROOT / 'docs/howto/which_part.md').read_text(encoding='utf-8')
    assert 'full by day, {:.1f} AP50 with 40 tiles, {:.1f} with 400'.format(*full) in text
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
    p = {m: stats.ttest_1samp(by_day(found, m), 0).pvalue for m in found if m != 'full'}
    _, *rows = TABLES['Asked once more']
    assert {row[0] for row in rows} == set(p)
    for method, values, shown, one, corrected in rows:
        assert values == signed(by_day(found, method)) and shown == interval(by_day(found, method))
        assert (one, corrected) == (f'{p[method]:.2f}', f'{holm(p, method):.2f}')


def test_fixed_views():
    """The table of docs/cache.md, worked out once more."""
    page = (ROOT / 'docs/cache.md').read_text(encoding='utf-8')
    found = {(r.method, r.seed): r for r in load_results(STUDY / 'views')}
    labels = {'as always': 'free', '1 view': 'views-1'}
    labels.update({f'{n} views': f'views-{n}' for n in (2, 4, 8)})
    cell = r' \| '.join(['(.*?)'] * 6)
    rows = {row[0]: row[1:] for row in re.findall(rf'^\| {cell} \|$', page, re.M)}
    assert rows.keys() >= labels.keys() and len(found) == 3 * len(labels)

    def scores(method, test):
        return np.array([100 * found[method, s].scores[test]['AP50'] for s in (0, 1, 2)])

    for label, method in labels.items():
        expected = [
            ', '.join(f'{v:.1f}' for v in scores(method, t)) for t in ('val', 'night', 'day')
        ]
        for test in ('night', 'day') if method != 'free' else ():
            d = scores(method, test) - scores('free', test)
            half = 4.302653 * d.std(ddof=1) / 3**0.5  # Student's t, two degrees of freedom
            expected.append(f'{d.mean():+.1f} [{d.mean() - half:+.1f}, {d.mean() + half:+.1f}]')
        assert [c.strip() for c in rows[label]][: len(expected)] == expected
    shares = [
        found[m, s].cost['flops'] / found[m, s].cost['full_flops']
        for m, s in found
        if m != 'free' and s
    ]
    assert {f'{100 * s:.0f}' for s in shares} == {'38'}


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
