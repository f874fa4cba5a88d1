"""The committed report of the toy study: its numbers are those of the committed results."""

import re
from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml
from scipy import stats

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
TUNED = {
    'full': 'full',
    'DP-FT': 'dp-ft',
    'its interpolation, chosen on val': 'interpolated',
    'L2-SP': 'l2sp',
    'L2-SP, tuned': 'l2sp-tuned',
    'RGN regulariser, tuned': 'rgn-reg',
    'EWC': 'ewc',
    'EWC, tuned': 'ewc-tuned',
    'SPD': 'spd',
    'FTP': 'ftp',
    'Auto-RGN': 'auto-rgn',
    'Auto-RGN, sign −1': 'auto-rgn-inverse',
    'budget 0.7 by RGN': 'budget-rgn',
    'budget 0.7 by drift, sign −1': 'budget-drift',
}
T_975 = 4.302652729911275  # Student's t, two degrees of freedom


def scores_of(folder):
    """In and out of the domain, in percent, by method and seed."""
    found = {}
    for run in load_results(folder):
        outside = [s['mAP'] for name, s in run.scores.items() if name not in run.in_domain]
        both = (100 * run.scores['clear']['mAP'], 100 * fmean(outside))
        found.setdefault(run.method, {})[run.seed] = both
    return found


@pytest.fixture(scope='module')
def scores():
    return {folder: scores_of(STUDY / folder) for folder in ('.', 'tuned')}


def test_every_setting_of_the_tuned_rows_has_three_trials(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = read_plan('configs/toy_study/tuning.yml')
    rows = yaml.safe_load((ROOT / 'configs/toy_study/tuned.yml').read_text())
    # The best of rgn-reg-tuned is the setting of rgn-reg itself, one row for both.
    assert set(plan.choice.trials) - set(rows['methods']) == {'rgn-reg-tuned'}
    assert {len(trials) for trials in plan.choice.trials.values()} == {3}
    assert {run.seed for run in plan.runs}.isdisjoint(rows['seeds'])
    assert rows['chosen'] == str(plan.choice.file)
    chosen = yaml.safe_load((ROOT / rows['chosen']).read_text())
    assert set(chosen) == set(plan.choice.trials)
    for method, entry in chosen.items():
        found = [r for r in load_results(STUDY / 'tuning') if r.method.startswith(method + '@')]
        assert [round(r.scores['val']['mAP'], 4) for r in found] == [
            trial['mAP'] for trial in entry['trials']
        ]
        best = max(entry['trials'], key=lambda trial: trial['mAP'])
        assert entry['options'] == best['options']


def text(value):
    return f'{value:+.1f}'.replace('-', '−')


@pytest.mark.parametrize('name, folder', [('plan', '.'), ('tuned', 'tuned')])
def test_the_results_are_those_of_the_plan(monkeypatch, name, folder):
    monkeypatch.chdir(ROOT)
    plan = read_plan(f'configs/toy_study/{name}.yml')
    results = {run.name: run for run in load_results(STUDY / folder)}
    assert set(results) == {run.name for run in plan.runs}
    for run in plan.runs:
        result = results[run.name]
        assert result.state == 'finished' and result.config == run.config
        options = result.options
        if run.after:  # it has the weight that was chosen besides
            options = {k: v for k, v in options.items() if not k.startswith('after.')}
        assert options == run.options
        assert set(result.scores) == {domain.name for domain in run.tests}
        assert RunFolder.of(plan, run).command.split('--only')[1] in result.command


@pytest.mark.parametrize(
    'folder, label', [('.', name) for name in NAMES] + [('tuned', name) for name in TUNED]
)
def test_the_tables_of_evidence(scores, folder, label):
    page = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
    first, second = page.split('### More methods, and tuned ones')
    (row,) = re.findall(
        rf'^\| {re.escape(label)} (?:\| [^|]*)?\| ([\d.]+ %.*) \|$',
        first if folder == '.' else second,
        re.M,
    )
    share, inside, difference, outside, gain = [cell.strip() for cell in row.split('|')]
    method = (NAMES if folder == '.' else TUNED)[label]
    mine, full = scores[folder][method], scores[folder]['full']
    for place, shown, change in ((0, inside, difference), (1, outside, gain)):
        values = [mine[seed][place] for seed in sorted(mine)]
        assert shown == f'{fmean(values):.1f} ± {stdev(values):.1f}'
        paired = [mine[seed][place] - full[seed][place] for seed in sorted(mine)]
        half = T_975 * stdev(paired) / len(paired) ** 0.5
        mean = fmean(paired)
        expected = f'{text(mean)} [{text(mean - half)}, {text(mean + half)}]'
        assert change == (expected if label != 'full' else '')
    runs = [run for run in load_results(STUDY / folder) if run.method == method]
    flops = [100 * run.cost['flops'] / run.cost['full_flops'] for run in runs]
    assert float(share.rstrip(' %')) == pytest.approx(fmean(flops), abs=0.051)


def test_the_table_of_the_report(scores):
    page = (STUDY / 'report.md').read_text(encoding='utf-8')
    for method, seeds in scores['.'].items():
        cells = re.search(rf'^\| {method} \| 3 \|(.*)$', page, re.M).group(1).split('|')
        for place, column in ((0, 0), (1, 4)):
            values = [both[place] for both in seeds.values()]
            assert cells[column].strip() == f'{fmean(values):.1f} ± {stdev(values):.1f}'


def test_advice_quotes_the_evidence():
    """Every difference with an interval, and the means of the other sign of Auto-RGN."""
    evidence = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
    advice = (ROOT / 'docs/howto/which_part.md').read_text(encoding='utf-8')
    quoted = re.findall(r'[+−]\d+\.\d \[[^]]+\]', advice) + ['24.1 ± 2.3', '20.8 ± 0.7']
    assert len(quoted) > 10
    assert [text for text in quoted if text not in evidence or text not in advice] == []


def test_the_repeated_difference():
    """Full and EWC with the seeds that came after, alone and with the first three."""
    later, first = scores_of(STUDY / 'repeated'), scores_of(STUDY / 'tuned')
    page = (ROOT / 'docs/evidence.md').read_text(encoding='utf-8')
    assert sorted(later['ewc']) == sorted(later['full']) == [4, 5, 6, 7, 8]
    both = {method: {**first[method], **later[method]} for method in later}
    for found, place in ((later, 0), (both, 0), (both, 1)):
        paired = [found['ewc'][seed][place] - found['full'][seed][place] for seed in found['full']]
        half = stats.t.ppf(0.975, len(paired) - 1) * stdev(paired) / len(paired) ** 0.5
        mean = fmean(paired)
        assert f'{text(mean)} [{text(mean - half)}, {text(mean + half)}]' in page
