"""The pages of the study on real pictures: their numbers are those of the committed results."""

import json
import re

import numpy as np
import pytest
import yaml
from real_study import (
    ROOT,
    STUDY,
    by_method,
    difference,
    holm,
    interval,
    mean,
    norm,
    of_plan,
    read,
    share_of_full,
    signed,
    tables,
)
from scipy import stats

from mmbackbone_plugins.lab.benchmarking import load_results
from mmbackbone_plugins.lab.benchmarking.repeats import load_repeats

PAGE = (STUDY / 'index.md').read_text(encoding='utf-8')
TABLES = tables('index.md')
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


@pytest.fixture(scope='module')
def results():
    return of_plan()


def test_differences_to_full(results):
    """The primary question: who is tested, the tests, and Holm's correction of them."""
    _, *rows = TABLES['Differences to full']
    p = {
        m: stats.ttest_1samp(difference(results, m), 0).pvalue
        for m in results
        if m != 'full' and len(results[m]) == 5
    }
    assert len(p) == 5
    assert {row[0] for row in rows} == {m for m in results if m != 'full' and len(results[m]) > 2}
    for method, count, share, day, one, corrected, night in rows:
        assert int(count) == len(results[method]) and share == share_of_full(results[method])
        assert day == interval(difference(results, method))
        assert night == interval(difference(results, method, 'night'))
        if method not in p:
            assert (one, corrected) == ('not tested', '')
            continue
        assert (one, corrected) == (f'{p[method]:.2f}', f'{holm(p, method):.2f}')


def test_the_table(results):
    _, *rows = TABLES['All methods']
    assert {row[0] for row in rows} == set(results)
    columns = [(d, 'AP50') for d in ('val', 'night', 'day')] + [('night', 'mAP'), ('day', 'mAP')]
    for method, count, share, *means, differences in rows:
        seeds = sorted(results[method])
        assert int(count) == len(seeds) and share == share_of_full(results[method])
        assert means == [mean(results, method, *column) for column in columns]
        assert differences == ('' if method == 'full' else signed(difference(results, method)))


def test_what_five_seeds_cannot_see(results):
    spread = [difference(results, m).var(ddof=1) for m in results if m != 'full']
    sd = np.mean(spread) ** 0.5
    half = stats.t.ppf(0.975, 4) * sd / 5**0.5
    text = read('docs/real_study/index.md')
    assert f'changes by {sd:.1f} points (standard deviation)' in text
    assert f'five seeds leave {half:.1f} points up and down' in text


def test_the_report(results):
    found = tables('report.md')
    (title,) = [name for name in found if name.startswith('Scores and cost')]
    header, *rows = found[title]
    found = {row[0].split()[0]: dict(zip(header, row)) for row in rows}
    assert set(found) == set(results)
    for method, row in found.items():
        assert int(row['n']) == len(results[method])
        for test, column in (('night', 'AP50 %'), ('day', 'OOD AP50 %')):
            assert row[column].split(' ±')[0] == mean(results, method, test)
    for picture in re.findall(r'\((figures/[^)]+)\)', (STUDY / 'report.md').read_text()):
        assert (STUDY / picture).is_file()


def test_rgn_and_the_gain_by_day(results):
    """The sentence on it, worked out once more."""
    methods = [m for m in results if all(r.rgn for r in results[m].values())]
    rgn = np.array([norm(results, m) for m in methods])
    gain = np.array([np.mean(difference(results, m)) for m in methods])
    r = np.corrcoef(rgn, gain)[0, 1]
    ends = [np.corrcoef(np.delete(rgn, i), np.delete(gain, i))[0, 1] for i in range(len(methods))]
    shown = [f'{v:+.2f}'.replace('-', '−') for v in (r, min(ends), max(ends))]
    text = 'over {} methods r = {}, from {} to {} when one is left out'
    for page in ('docs/real_study/index.md', 'docs/evidence.md'):
        assert text.format(len(methods), *shown) in read(page)


def test_differences_in_pages(results):
    pages = ['docs/howto/which_part.md', 'docs/evidence.md', 'docs/real_study/index.md']
    text = ' '.join(read(page) for page in pages)
    number = r'[+−]\d+\.\d'
    with_interval = re.findall(rf'`([a-z0-9-]+)` ({number} \[{number}, {number}\])', text)
    by_seed = re.findall(rf'`([a-z0-9-]+)` ({number}(?:, {number})*)(?! \[|\d|, [+−])', text)
    assert len(with_interval) > 3 and len(by_seed) > 3
    for method, shown in with_interval:
        assert shown == interval(difference(results, method)), method
    for method, shown in by_seed:
        assert shown == signed(difference(results, method)), method


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


def test_fixed_views():
    """The table of docs/cache.md, worked out once more."""
    page = (ROOT / 'docs/cache.md').read_text(encoding='utf-8')
    found = by_method(load_results(STUDY / 'views'))
    labels = {'as always': 'free', '1 view': 'views-1'}
    labels.update({f'{n} views': f'views-{n}' for n in (2, 4, 8)})
    cell = r' \| '.join(['(.*?)'] * 6)
    rows = {row[0]: row[1:] for row in re.findall(rf'^\| {cell} \|$', page, re.M)}
    assert rows.keys() >= labels.keys() and found.keys() == set(labels.values())
    for label, method in labels.items():
        by_seed = [found[method][seed].scores for seed in (0, 1, 2)]
        assert len(found[method]) == 3
        expected = [
            ', '.join(f'{100 * scores[test]["AP50"]:.1f}' for scores in by_seed)
            for test in ('val', 'night', 'day')
        ]
        for test in ('night', 'day') if method != 'free' else ():
            expected.append(interval(difference(found, method, test, baseline='free')))
        assert [c.strip() for c in rows[label]][: len(expected)] == expected
        for seed in (1, 2) if method != 'free' else ():
            assert share_of_full({seed: found[method][seed]}) == '38 %'
