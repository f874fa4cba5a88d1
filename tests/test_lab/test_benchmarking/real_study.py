"""Numbers of the study on real pictures, worked out again from its results: for its tests."""

import math
from pathlib import Path

import numpy as np
from reading import markdown_tables
from scipy import stats

from mmbackbone_plugins.lab.benchmarking import load_results

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / 'docs/real_study'


def read(name):
    """A page of the repository, as one line."""
    return ' '.join((ROOT / name).read_text(encoding='utf-8').split())


def tables(name):
    """Rows of the tables of a page of the study, by heading."""
    return markdown_tables((STUDY / name).read_text(encoding='utf-8'))


def by_method(runs):
    """Results by method and seed."""
    found = {}
    for r in runs:
        found.setdefault(r.method, {})[r.seed] = r
    return found


def mean(results, method, test, metric='AP50'):
    """Over all seeds, in percent, as pages write it."""
    found = [r.scores[test][metric] for r in results[method].values()]
    return f'{100 * np.mean(found):.1f}'


def norm(results, method):
    """Relative gradient norm: median over weights, mean over the training and over all seeds."""
    return np.mean([r.rgn['median'] for r in results[method].values()])


def difference(results, method, test='day', baseline='full'):
    """AP50 minus that of the baseline, in percent, of every seed that both have."""
    seeds = sorted(results[method].keys() & results[baseline].keys())
    found = {m: [results[m][s].scores[test]['AP50'] for s in seeds] for m in (method, baseline)}
    return 100 * (np.array(found[method]) - found[baseline])


def signed(values, digits=1):
    return ', '.join(f'{value:+.{digits}f}' for value in values).replace('-', '−')


def interval(values):
    """The mean with its 95 % t-interval, as pages write it."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    low, high = values.mean() - half, values.mean() + half
    return f'{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]'.replace('-', '−')


def shown(values):
    """Differences as pages write them: with an interval from three seeds on."""
    return interval(values) if len(values) > 2 else signed(values)


def compared(results, method, test):
    return '' if method == 'full' else shown(difference(results, method, test))


def share_of_full(found):
    return (
        f'{100 * np.mean([r.cost["flops"] / r.cost["full_flops"] for r in found.values()]):.0f} %'
    )


def holm(p, method):
    """The largest, over all p up to this one, of p times how many are not below it; at most 1."""
    steps = [q * sum(other >= q for other in p.values()) for q in p.values() if q <= p[method]]
    return min(1, max(steps))


def of_plan(seeds=math.inf):
    """Results of the primary question, of all seeds or of the first."""
    return by_method(r for r in load_results(STUDY / 'study') if r.seed < seeds)
