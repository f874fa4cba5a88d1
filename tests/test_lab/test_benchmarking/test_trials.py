"""Settings chosen by one plan and used by another, and the question that is tested."""

import numpy as np
import pytest
from fabricated import make_result
from scipy import stats

from mmbackbone_plugins.lab.benchmarking import read_plan, write_choice
from mmbackbone_plugins.lab.benchmarking.report.groups import RunKey
from mmbackbone_plugins.lab.benchmarking.report.primary import compare, holm, primary_table
from mmbackbone_plugins.lab.benchmarking.report.summary import summarize

TUNING = """
seeds: [9]
choose: {test: val, metric: AP50, file: chosen.yml}
datasets: {dota: {tests: {val: {split: val}}}}
detectors: [small]
methods:
  l2sp:
    config: '{detector}_{dataset}.py'
    options: {a.b: 7}
    trials: [{a.c: 1}, {a.c: 2}, {a.c: 3}]
"""
PLAN = """
chosen: chosen.yml
datasets:
  dota: {tests: {val: {split: val}, dota: {}, dior: {}}, in_domain: [dota], validation: [val]}
detectors: [small]
methods:
  full: {config: '{detector}_{dataset}.py', seeds: [0, 1]}
  l2sp: {config: '{detector}_{dataset}.py', options: {a.d: 4}}
  again: {like: l2sp, options: {a.d: 5}}
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'small_dota.py').write_text('a = dict(b=0)\n')

    def reader(text, *edits):
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / 'p.yml').write_text(text)
        return read_plan('p.yml', 'work')

    return reader


def finish(plan, scores):
    for run, score in zip(plan.runs, scores):
        folder = plan.work_dir / 'runs' / run.name
        folder.mkdir(parents=True)
        result = make_result(run.method, run.seed, run.dataset, run.detector, domains=('val',))
        result.scores['val']['AP50'] = score
        result.save(folder)


def test_the_best_trial_is_what_the_other_plan_uses(read):
    plan = read(TUNING)
    assert [(run.method, run.options) for run in plan.runs] == [
        (f'l2sp@{i}', {'a.b': 7, 'a.c': i}) for i in (1, 2, 3)
    ]
    finish(plan, (0.2, 0.4, 0.3))
    assert str(write_choice(plan)) == 'chosen.yml'
    runs = {(run.method, run.seed): run.options for run in read(PLAN).runs}
    assert runs == {
        ('full', 0): {},
        ('full', 1): {},
        ('l2sp', 0): {'a.c': 2, 'a.d': 4},
        ('again', 0): {'a.c': 2, 'a.d': 5},
    }


def test_nothing_is_chosen_before_all_trials_are_finished(read):
    plan = read(TUNING)
    finish(plan, (0.2, 0.4))
    with pytest.raises(ValueError, match='l2sp@3 is not finished'):
        write_choice(plan)


@pytest.mark.parametrize(
    ('text', 'edit', 'message'),
    [
        (TUNING, ('{split: val}', '{}'), 'never chosen on a test split'),
        (TUNING, ('metric: AP50', 'metric: AP60'), r"choose.metric must be .*'AP60'"),
        (TUNING, ('choose: {test: val, metric: AP50, file: chosen.yml}', ''), 'needs choose'),
        (TUNING, ('trials: [{a.c: 1}, {a.c: 2}, {a.c: 3}]', ''), 'nothing to choose'),
        (TUNING, ('[{a.c: 1}, {a.c: 2}, {a.c: 3}]', '[1, 2]'), r'l2sp.trials .* \[1, 2\]'),
        (PLAN, ('chosen.yml', 'none.yml'), "chosen: 'none.yml' is no file"),
        (PLAN, ('like: l2sp', 'like: l2'), "again.like must name a method .* 'l2'"),
        (PLAN, ('validation: [val]', 'validation: [dota]'), r'dota.validation .* \(val, dior\)'),
        (PLAN, ('seeds: [0, 1]', 'seeds: [0, 0]'), 'methods.full.seeds has duplicates'),
    ],
)
def test_what_is_refused(read, tmp_path, text, edit, message):
    (tmp_path / 'chosen.yml').write_text('l2sp: {options: {a.c: 1}}\n')
    with pytest.raises(ValueError, match=message):
        read(text, edit)


def test_holm():
    # The worked rule: the smallest times 3, the next times 2, the last once, never falling.
    found = holm(dict(a=0.03, b=0.01, c=0.04))
    assert found == pytest.approx(dict(b=0.03, a=0.06, c=0.06))
    assert holm(dict(a=0.9, b=0.6)) == dict(b=1.0, a=1.0)


def test_the_question_that_is_tested():
    question = dict(test='dusk', metric='AP50', seeds=4)
    results = [make_result(m, seed) for m in ('full', 'dp-ft', 'se') for seed in range(5)]
    results.append(make_result('ewc', 0))
    keys = [RunKey.of(result) for result in results]
    (group,) = summarize(results, keys, question=question).groups
    found = compare(group, question)
    assert list(found) == ['dp-ft', 'se']
    value = {
        m: np.array([r.scores['dusk']['AP50'] for r in results if r.method == m])
        for m in ('full', 'dp-ft', 'se')
    }
    for name, comparison in found.items():
        wanted = stats.ttest_rel(value[name], value['full'])
        low, high = wanted.confidence_interval()
        assert comparison.p == pytest.approx(wanted.pvalue)
        assert (comparison.gain.low, comparison.gain.high) == pytest.approx((low, high))
    (table,) = primary_table(group, question)
    assert [row[0].text for row in table.rows] == ['dp-ft', 'se']
    assert primary_table(group, dict(question, seeds=6)) == []


def test_validation_is_neither_in_the_domain_nor_out_of_it():
    results = [make_result('full', seed) for seed in range(3)]
    for result in results:
        result.validation = ['haze']
    (group,) = summarize(results).groups
    assert 'haze' not in group.in_domain + group.out_of_domain
    assert group.out_of_domain
