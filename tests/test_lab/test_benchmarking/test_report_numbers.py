"""What the report computes, against closed forms and values worked out by hand."""

import math
import statistics

import fabricated
import pytest

from mmbackbone_plugins.lab.benchmarking.collect import collect_rgn
from mmbackbone_plugins.lab.benchmarking.report import RunKey, figures, summarize
from mmbackbone_plugins.lab.benchmarking.report.figure_writer import FigureWriter
from mmbackbone_plugins.lab.benchmarking.report.statistics import (
    correlate,
    difference,
    estimate,
    pareto_set,
    t_quantile,
)
from mmbackbone_plugins.lab.benchmarking.report.summary import to_dict
from mmbackbone_plugins.lab.benchmarking.report.tables import (
    MINUS,
    Unit,
    domain_table,
    estimate_entry,
    gain_entry,
    main_table,
    run_table,
    unit_for,
)
from mmbackbone_plugins.lab.visualization import RunLog

METHODS = ('full', 'dp-ft', 'ewc', 'l2sp')


def test_t_quantiles_have_their_closed_forms():
    level = 0.95
    assert t_quantile(1) == pytest.approx(math.tan(math.pi * level / 2), rel=1e-9)
    assert t_quantile(2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), rel=1e-9)
    root = math.sqrt(1 - level**2)  # 4 p (1 - p) with p = (1 + level) / 2
    four = 2 * math.sqrt(math.cos(math.acos(root) / 3) / root - 1)
    assert t_quantile(4) == pytest.approx(four, rel=1e-9)


def test_estimates():
    found = estimate({0: 0.2, 1: 0.5, 2: 0.8})
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * 0.3 / math.sqrt(3)
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(0.5), pytest.approx(0.3))
    assert (found.low, found.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    two = estimate({0: 1.0, 1: 3.0})
    assert (two.n, two.mean, two.low, two.high) == (2, 2.0, None, None)
    assert two.sd == pytest.approx(math.sqrt(2))
    one = estimate({7: 4})
    assert (one.n, one.mean, one.sd, one.low) == (1, 4.0, None, None)
    holes = estimate({0: None, 1: math.nan, 2: math.inf, 3: 'x', 4: True, 5: 2.0})
    assert holes.values == {5: 2.0} and estimate({}).mean is None


def test_differences_are_paired_by_seed():
    # Unpaired, the spread of the seeds (10, 20, 30) would drown the difference.
    found = difference({0: 11, 1: 21.5, 2: 31, 9: 500}, {0: 10, 1: 20, 2: 30, 8: -500})
    assert found.values == {0: 1, 1: 1.5, 2: 1}
    assert found.sd == pytest.approx(statistics.stdev([1, 1.5, 1]))
    assert difference({0: 1, 1: None}, {0: None, 1: 1}).n == 0


def test_correlations_and_their_ranges():
    x = dict(a=1.0, b=2.0, c=3.0, d=4.0, e=10.0, f=None)
    y = dict(a=2.0, b=1.0, c=4.0, d=3.0, e=30.0, f=5.0)
    found = correlate(x, y)
    assert found.names == list('abcde') and found.left_out == ['f']

    def pearson(names):
        a, b = ([values[n] for n in names] for values in (x, y))
        a, b = ([v - statistics.fmean(values) for v in values] for values in (a, b))
        return sum(p * q for p, q in zip(a, b)) / math.hypot(*a) / math.hypot(*b)

    assert found.pearson == pytest.approx(pearson('abcde'))
    without = [pearson([n for n in 'abcde' if n != out]) for out in 'abcde']
    assert found.pearson_range == pytest.approx((min(without), max(without)))
    assert found.pearson_range[0] == pytest.approx(0.6)  # one point makes it
    assert found.pearson > 0.96
    # Two neighbouring pairs are swapped: 1 - 6 sum d^2 / (n (n^2 - 1)).
    assert found.spearman == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert found.spearman_range == pytest.approx((0.6, 0.8))


def test_correlations_that_are_not_defined():
    three = dict(a=1.0, b=2.0, c=4.0)
    assert correlate(three, three).pearson is None
    flat = correlate(dict(three, d=5.0), dict.fromkeys('abcd', 1.0))
    assert (flat.pearson, flat.spearman, flat.pearson_range) == (None, None, None)
    # Leaving out the only one that differs leaves nothing to correlate.
    lone = correlate(dict(three, d=5.0), dict(a=0.0, b=0.0, c=0.0, d=1.0))
    assert lone.pearson is not None and lone.pearson_range is None
    ties = correlate(dict(a=1, b=1, c=2, d=2), dict(a=1, b=1, c=2, d=2))
    assert ties.spearman == pytest.approx(1)


def test_pareto_set():
    cost = dict(cheap=1.0, beaten=2.0, good=2.0, twin=2.0, dear=9.0, free=None, blind=0.1)
    score = dict(cheap=0.1, beaten=0.3, good=0.5, twin=0.5, dear=0.5, free=0.9, blind=None)
    assert pareto_set(cost, score) == ['cheap', 'good', 'twin']


@pytest.mark.parametrize('metric', ['mAP', 'AP50'])
def test_methods_are_compared_by_the_metric_of_the_question(metric):
    results = [fabricated.make_result(m, s) for m in METHODS for s in (0, 1, 2)]
    for result in results:  # so that no score can stand for another
        for name, scores in result.scores.items():
            scores['AP50'] = fabricated.draw('AP50', result.name, name)
    question = dict(test='dusk', metric=metric, seeds=3) if metric != 'mAP' else None
    summary = summarize(results, question=question)
    (group,) = summary.groups

    def outside(method, seed):
        (result,) = [r for r in results if (r.method, r.seed) == (method, seed)]
        return statistics.fmean(v[metric] for d, v in result.scores.items() if d != 'clear')

    gains = [outside('ewc', s) - outside('full', s) for s in (0, 1, 2)]
    ewc = group.methods['ewc']
    assert ewc.mean(f'ood_{metric}_gain') == pytest.approx(statistics.fmean(gains))
    means = [[outside(m, s) for s in (0, 1, 2)] for m in METHODS]
    pairs = [(group.methods[m].mean('rgn'), statistics.fmean(v)) for m, v in zip(METHODS, means)]
    assert group.correlations['rgn'].pearson == pytest.approx(statistics.correlation(*zip(*pairs)))
    assert group.fronts.keys() == {metric, f'ood_{metric}'}
    table = main_table(group)
    assert f'OOD {metric} %' in table.header and f'{metric}, difference to full' in table.header
    shown = domain_table(group).rows[1][1].text.split()[0]
    own = [r.scores['clear'][metric] for r in results if r.method == list(group.methods)[1]]
    assert shown == f'{100 * statistics.fmean(own):.1f}'
    assert run_table(summary).header[2:4] == [f'{metric} %', f'OOD {metric} %']


def test_rows_of_the_figure_of_differences(tmp_path, monkeypatch):
    results = [fabricated.make_result(m, s) for m in fabricated.METHODS for s in (0, 1, 2)]
    results.append(fabricated.make_result('lone', 7))  # shares no seed with the baseline
    drawn = []
    monkeypatch.setattr(figures, 'plot_differences', lambda path, rows, *_: drawn.extend(rows))
    summary = summarize(results)
    figure = figures.differences(FigureWriter(tmp_path, tmp_path, summary), summary.groups[0])
    assert figure.title.endswith('out of domain (OOD)') and len(figure.pictures) == 1

    def outside(method):
        found = [r.scores for r in results if r.method == method]
        return [100 * statistics.fmean(s[d]['mAP'] for d in s if d != 'clear') for s in found]

    assert {row.name.split(',')[0] for row in drawn} == set(fabricated.METHODS) - {'full'}
    order = [row.name.split(',')[0] for row in drawn]
    assert order != sorted(order)  # not by chance that of the summary
    assert [row.mean for row in drawn] == sorted((row.mean for row in drawn), reverse=True)
    for row in drawn:
        method, _, share = row.name.partition(', ')
        expected = [a - b for a, b in zip(outside(method), outside('full'))]
        assert row.values == pytest.approx(expected)
        assert row.mean == pytest.approx(statistics.fmean(expected))
        half = fabricated.HALF * statistics.stdev(expected)
        assert (row.low, row.high) == pytest.approx((row.mean - half, row.mean + half))
        (cost,) = [r.cost for r in results if r.method == method and r.seed == 0]
        assert share == f'{100 * cost["flops"] / cost["full_flops"]:.0f} %'


def test_summary_of_a_benchmark():
    results = [
        fabricated.make_result(method, seed)
        for method in ('full', 'frozen', 'dp-ft')
        for seed in (0, 1, 2)
    ]
    group = summarize(results).groups[0]
    assert list(group.methods) == ['full', 'dp-ft', 'frozen'] and group.baseline == 'full'
    assert group.in_domain == ['clear'] and len(group.out_of_domain) == 7
    frozen, full = ([r for r in results if r.method == name] for name in ('frozen', 'full'))

    def ood(result):
        return statistics.fmean(s['mAP'] for d, s in result.scores.items() if d != 'clear')

    found = group.methods['frozen'].estimates
    assert found['ood_mAP'].mean == pytest.approx(statistics.fmean(map(ood, frozen)))
    assert found['ood_mAP'].sd == pytest.approx(statistics.stdev(map(ood, frozen)))
    gains = [ood(a) - ood(b) for a, b in zip(frozen, full)]
    assert list(found['ood_mAP_gain'].values.values()) == pytest.approx(gains)
    flops = statistics.fmean(r.cost['flops'] for r in frozen)
    assert found['flops'].mean == pytest.approx(flops)
    assert found['rgn'].mean is None and found['share_of_full'].mean < 1
    assert group.correlations['rgn'].left_out == ['frozen']
    assert group.notes == []
    plain = to_dict(summarize(results))['groups'][0]['methods']['full']
    assert plain['estimates']['mAP']['values'] == {
        str(r.seed): r.scores['clear']['mAP'] for r in full
    }


def test_nothing_is_dropped_in_silence():
    planned = [RunKey('toy', 'retinanet-r18', m, s) for m in ('full', 'ewc', 'se') for s in (0, 1)]
    hole = fabricated.make_result('ewc', 1)
    hole.scores['haze'].update(mAP=math.nan)
    del hole.scores['dusk']['mAP']
    results = [
        fabricated.make_result('full', 0),
        fabricated.make_failed('full', 1, 'boom'),
        fabricated.make_result('ewc', 0),
        hole,
        fabricated.make_result('unplanned', 5),
    ]
    summary = summarize(results, planned)
    assert [str(run).split('/', 2)[2] for run in summary.missing] == ['se/seed0', 'se/seed1']
    assert [r.name for r in summary.failed] == ['toy/retinanet-r18/full/seed1']
    group = summary.groups[0]
    assert list(group.methods) == ['full', 'ewc', 'se', 'unplanned']
    assert group.methods['ewc'].estimates['ood_mAP'].n == 1
    assert group.methods['ewc'].estimates['mAP'].n == 2
    notes = '\n'.join(group.notes)
    for text in (
        'full, seed 1: the run failed',
        'No result yet: se (seed 0, 1).',
        'ewc, seed 1: no mAP on haze, dusk, hence no OOD mAP',
        'ewc: seed 1 has no pair in full',
        'Fewer than 3 seeds: full, ewc, unplanned',
    ):
        assert text in notes
    alone = summarize([fabricated.make_result('ewc', 0)]).groups[0]
    assert alone.baseline is None and "'full' has no finished run" in '\n'.join(alone.notes)
    assert alone.methods['ewc'].estimates['mAP_gain'].mean is None


def test_numbers_as_text():
    percent = Unit('%', 0.01)
    assert estimate_entry(estimate({0: 0.5, 1: 0.52}), percent).text == '51.0 ± 1.4'
    assert estimate_entry(estimate({0: 0.5, 1: 0.5}), percent).text == '50.0'
    assert estimate_entry(estimate({0: 0.5}), percent, 3).below == 'n = 1'
    assert estimate_entry(estimate({}), percent).text == '-'
    gain = gain_entry(estimate({0: -0.02, 1: -0.03, 2: -0.025}))
    assert gain.text == f'{MINUS}2.5' and gain.below == f'[{MINUS}3.7, {MINUS}1.3]'
    assert gain_entry(estimate({0: 0.02})) == ('+2.0', 'no interval')
    assert unit_for('flops', [3e12, 2e15, None]).name == 'PFLOPs'
    assert unit_for('seconds', [59]).name == 's' and unit_for('seconds', [61, 3]).name == 'min'
    assert unit_for('bytes', []).text(2**30) == '1.00' and unit_for('bytes', [2**22]).name == 'MiB'
    small = unit_for('plain', [0.0231, 0.004])
    assert (
        small.name == '×\u00a010⁻³' and small.text(0.0231) == '23.1' and small.text(0.004) == '4.00'
    )
    assert unit_for('plain', [0.5, 0.004]).text(0.004) == '0.00400'
    assert unit_for('plain', [0.0]).text(0.0) == '0'


def rgn_line(iteration, pulled, bias):
    """What RGNHook writes of a network in which half of the tensors are biases."""
    return dict(
        iter=iteration,
        mean=(pulled + bias) / 2,
        weighted=pulled,
        median=(pulled + bias) / 2,
        weights=dict(stage1=pulled, network=pulled),
        stages=dict(stage1=dict(mean=(pulled + bias) / 2), stem='frozen'),
    )


def test_rgn_of_a_network_is_not_ruled_by_biases_that_start_at_zero():
    log = RunLog('run', rgn=[rgn_line(1, 0.02, 27668.0), rgn_line(51, 0.04, 0.06)])
    rgn = collect_rgn(log)
    assert rgn['median_first'] == 0.02 and rgn['median'] == pytest.approx(0.03)
    assert rgn['mean'] > 6900 and rgn['first'] > 13800  # the paper's, in the file all the same
    assert list(rgn['stages']) == ['stage1']
    found = summarize([fabricated.make_result('full', 0, rgn=rgn)]).groups[0]
    estimates = found.methods['full'].estimates
    assert (estimates['rgn'].mean, estimates['rgn_first'].mean) == (rgn['median'], 0.02)
    assert estimates['rgn_mean'].mean == rgn['mean']
    # Logs without kinds of parameters have the median over all tensors.
    old = {k: v for k, v in rgn_line(1, 0.02, 0.04).items() if k != 'weights'}
    assert collect_rgn(RunLog('old', rgn=[old]))['median'] == pytest.approx(0.03)
    asleep = dict(iter=2, mean=None, median=None, weights={}, stages={})
    assert collect_rgn(RunLog('frozen', rgn=[asleep])) is None


def test_results_without_a_median_are_not_mixed_with_those_that_have_one():
    old = fabricated.make_result('full', 0, rgn=dict(first=0.5, mean=0.4, stages={}))
    new = fabricated.make_result('ewc', 0)
    group = summarize([old, new, fabricated.make_result('frozen', 0)]).groups[0]
    assert group.methods['full'].estimates['rgn'].mean == 0.4
    assert group.methods['ewc'].estimates['rgn'].mean == new.rgn['mean']
    assert any('mean over all tensors, biases included' in note for note in group.notes)
    assert not any('RGN' in note for note in summarize([new]).groups[0].notes)
