"""The committed report of the toy study: its numbers are those of the committed results."""

import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from mmbackbone_plugins.lab.benchmarking import RunFolder, load_results, read_plan

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / 'docs/toy_study'
# As docs/evidence.md calls the methods.
NAMES = {
    'full': 'full',
    'frozen': 'frozen',
    'DBF, rho 2': 'dbf-rho2',
    'DBF, rho 3': 'dbf-rho3',
    'DBF, rho 6': 'dbf-rho6',
    'DP-FT': 'dp-ft',
    'L2-SP': 'l2sp',
    'RGN regulariser': 'rgn-reg',
    'EWC': 'ewc',
    'SE blocks': 'se',
    'adapters, frozen': 'adapter',
}
T_975 = 4.302652729911275  # Student's t, two degrees of freedom


@pytest.fixture(scope='module')
def scores():
    """In and out of the domain, in percent, by method and seed."""
    found = {}
    for run in load_results(STUDY):
        outside = [s['mAP'] for name, s in run.scores.items() if name not in run.in_domain]
        both = (100 * run.scores['clear']['mAP'], 100 * fmean(outside))
        found.setdefault(run.method, {})[run.seed] = both
    return found


def test_the_tuned_rows_have_the_settings_that_won(monkeypatch):
    """Three trials each, by a seed that no row has; a method whose default won has one row."""
    monkeypatch.chdir(ROOT)
    trials, rows = (read_plan(f'configs/toy_study/{name}.yml').runs for name in ('tuning', 'tuned'))
    assert {run.seed for run in trials}.isdisjoint(run.seed for run in rows)
    tuned = {run.method.removesuffix('-tuned'): run for run in rows if run.options}
    by_method = {}
    for run in trials:
        if run.options:
            by_method.setdefault(run.method.rsplit('-', 1)[0], {})[run.method] = run
    assert all(len(runs) == 3 for runs in by_method.values()) and set(by_method) >= {'spd', 'ewc'}
    scores = {r.method: r.scores['val']['mAP'] for r in load_results(STUDY / 'tuning')}
    for method, runs in by_method.items():
        options = [run.options for run in runs.values()]
        if scores:
            options = [runs[max(runs, key=scores.__getitem__)].options]
        assert (
            tuned[method].options in options
            if method in tuned
            else {'custom_hooks.0.coeff': 0.1} in options
        )


def text(value):
    return f'{value:+.1f}'.replace('-', '−')


def test_the_results_are_those_of_the_plan(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = read_plan('configs/toy_study/plan.yml')
    results = {run.name: run for run in load_results(STUDY)}
    assert set(results) == {run.name for run in plan.runs}
    for run in plan.runs:
        result = results[run.name]
        assert result.state == 'finished' and result.config == run.config
        assert result.options == run.options
        assert set(result.scores) == {domain.name for domain in run.tests}
        assert RunFolder.of(plan, run).command.split('--only')[1] in result.command


@pytest.mark.parametrize('label', NAMES)
def test_the_table_of_evidence(scores, label):
    page = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
    (row,) = re.findall(rf'^\| {re.escape(label)} \| ([\d.]+ %.*) \|$', page, re.M)
    share, inside, difference, outside, gain = [cell.strip() for cell in row.split('|')]
    mine, full = scores[NAMES[label]], scores['full']
    for place, shown, change in ((0, inside, difference), (1, outside, gain)):
        values = [mine[seed][place] for seed in sorted(mine)]
        assert shown == f'{fmean(values):.1f} ± {stdev(values):.1f}'
        paired = [mine[seed][place] - full[seed][place] for seed in sorted(mine)]
        half = T_975 * stdev(paired) / len(paired) ** 0.5
        mean = fmean(paired)
        expected = f'{text(mean)} [{text(mean - half)}, {text(mean + half)}]'
        assert change == (expected if label != 'full' else '')
    runs = [run for run in load_results(STUDY) if run.method == NAMES[label]]
    flops = [100 * run.cost['flops'] / run.cost['full_flops'] for run in runs]
    assert float(share.rstrip(' %')) == pytest.approx(fmean(flops), abs=0.051)


def test_the_table_of_the_report(scores):
    page = (STUDY / 'report.md').read_text(encoding='utf-8')
    for method, seeds in scores.items():
        cells = re.search(rf'^\| {method} \| 3 \|(.*)$', page, re.M).group(1).split('|')
        for place, column in ((0, 0), (1, 4)):
            values = [both[place] for both in seeds.values()]
            assert cells[column].strip() == f'{fmean(values):.1f} ± {stdev(values):.1f}'
