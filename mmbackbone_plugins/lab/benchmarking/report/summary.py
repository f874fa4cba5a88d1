"""Results of a benchmark by data set, detector and method: estimates over seeds, and what lacks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional

from ..results import SCORES as METRICS
from ..results import Result
from .groups import Group, Method, RunKey, Summary
from .statistics import FEWEST_SEEDS, correlate, difference, estimate, mean_of, number, pareto_set

BASELINE = 'full'
_PLAIN = ('dataset', 'detector', 'baseline', 'in_domain', 'out_of_domain', 'fronts')
_Reader = Callable[[Result, Group], Optional[float]]


def _score(metric: str, domains: str) -> _Reader:
    return lambda result, group: mean_of(
        [result.scores.get(domain, {}).get(metric) for domain in getattr(group, domains)]
    )


def _part(name: str, key: str) -> _Reader:
    return lambda result, group: number((getattr(result, name) or {}).get(key))


def _rgn(**keys: str) -> _Reader:
    return lambda result, group: number((result.rgn or {}).get(keys[group.rgn]))


def _share(result: Result, group: Group) -> Optional[float]:
    flops, full = (number(result.cost.get(key)) for key in ('flops', 'full_flops'))
    return None if flops is None or not full else flops / full


# Every quantity of a run that is averaged over seeds. A new one is a line here, and a column in
# tables.py if it is to be shown.
QUANTITIES: dict[str, _Reader] = {
    **{metric: _score(metric, 'in_domain') for metric in METRICS},
    **{f'ood_{metric}': _score(metric, 'out_of_domain') for metric in METRICS},
    'flops': _part('cost', 'flops'),
    'share_of_full': _share,
    **{key: _part('cost', key) for key in ('seconds', 'peak_memory', 'trainable_share')},
    'communicated_bytes': _part('cost', 'communicated_bytes'),
    'rgn': _rgn(median='median', mean='mean'),
    'rgn_first': _rgn(median='median_first', mean='first'),
    'rgn_mean': _part('rgn', 'mean'),  # over all tensors, as in the paper
    'drift': _part('drift', 'mean'),
}


def summarize(
    results: Iterable[Result],
    planned: Optional[Sequence[RunKey]] = None,
    baseline: str = BASELINE,
    question: Optional[Mapping[str, Any]] = None,
) -> Summary:
    """Groups results, failed ones included, and estimates everything over seeds.

    ``planned`` are the runs that there should be, in the order of the plan. Without them a seed
    that any run has is expected of all methods of its data set and detector.
    """
    by_run = {RunKey.of(result): result for result in results}
    if planned is None:  # all seeds for all methods, the baseline first
        order = sorted(by_run, key=lambda run: (run[:2], run.method != baseline, run.method))
        seeds = {run[:2]: sorted({r.seed for r in by_run if r[:2] == run[:2]}) for run in order}
        planned = [run._replace(seed=seed) for run in order for seed in seeds[run[:2]]]
    # A result outside the plan (of an earlier version of it) is shown all the same.
    runs = list(dict.fromkeys([*planned, *by_run]))
    groups: dict[tuple[str, str], Group] = {}
    for run in runs:
        group = groups.setdefault(run[:2], Group(run.dataset, run.detector))
        method = group.methods.setdefault(run.method, Method(run.method))
        result = by_run.get(run)
        if result is None:
            method.missing.append(run.seed)
        elif result.state == 'finished':
            method.finished[run.seed] = result
        else:
            method.failed.append(run.seed)
    for group in groups.values():
        group.question = question
        _fill(group, baseline)
    return Summary(list(groups.values()), runs, {run: by_run[run] for run in runs if run in by_run})


def _fill(group: Group, baseline: str) -> None:
    domains = list(dict.fromkeys(name for r in group.results for name in r.scores))
    inside = {name for r in group.results for name in r.in_domain}
    group.in_domain = [name for name in domains if name in inside]
    aside = {name for r in group.results for name in r.validation}
    group.out_of_domain = [name for name in domains if name not in inside | aside]
    for method in group.methods.values():
        for name, read in QUANTITIES.items():
            found = {seed: read(r, group) for seed, r in method.finished.items()}
            method.estimates[name] = estimate(found)
        for domain in domains:
            found = {
                s: r.scores.get(domain, {}).get(group.metric) for s, r in method.finished.items()
            }
            method.domains[domain] = estimate(found)
    reference = group.methods.get(baseline, Method(baseline))
    group.baseline = baseline if reference.finished else None
    for name in group.scores:
        base = reference.estimates[name].values if group.baseline else {}
        for method in group.methods.values():
            method.estimates[f'{name}_gain'] = difference(method.estimates[name].values, base)
        group.fronts[name] = pareto_set(group.means('flops'), group.means(name))
    gains = group.means(f'{group.scores[1]}_gain')
    for name in ('rgn', 'rgn_first'):
        group.correlations[name] = correlate(group.means(name), gains)
    group.notes = list(_notes(group, baseline))


def _notes(group: Group, baseline: str) -> Iterable[str]:
    """Holes in the numbers of a group, one sentence each."""
    methods, metric = group.methods.values(), group.metric
    lacking = [f'{m.name} (seed {_listed(m.missing)})' for m in methods if m.missing]
    if lacking:
        yield f'No result yet: {", ".join(lacking)}.'
    for method in methods:
        for seed in method.failed:
            yield f'{method.name}, seed {seed}: the run failed and is in no number.'
        for seed, result in method.finished.items():
            for domains, score in (
                (group.in_domain, metric),
                (group.out_of_domain, f'OOD {metric}'),
            ):
                values = {d: number(result.scores.get(d, {}).get(metric)) for d in domains}
                empty = [domain for domain, value in values.items() if value is None]
                if empty:
                    yield (
                        f'{method.name}, seed {seed}: no {metric} on {", ".join(empty)}, hence no '
                        f'{score} (a mean over other test sets would not compare).'
                    )
    if group.baseline is None:
        yield f'The baseline {baseline!r} has no finished run: there are no differences.'
    else:
        for method in methods:
            lone = sorted(set(method.finished) - set(group.methods[baseline].finished))
            if lone:
                yield (
                    f'{method.name}: seed {_listed(lone)} has no pair in {baseline} and is not in '
                    'the differences.'
                )
    if group.rgn == 'mean':
        yield (
            'RGN is the mean over all tensors, biases included, which those that start at zero may '
            'rule: some results are older than the median.'
        )
    sets = {tuple(sorted(r.in_domain)) for r in group.results}
    if len(sets) > 1:
        yield f'Runs disagree about which test sets are in domain: {sorted(sets)}.'
    few = [m.name for m in methods if 0 < len(m.finished) < FEWEST_SEEDS]
    if few:
        yield (
            f'Fewer than {FEWEST_SEEDS} seeds: {", ".join(few)}. Where there is a ± it is the '
            'spread of two runs, and no interval; no interval is given.'
        )


def _listed(seeds: Iterable[int]) -> str:
    return ', '.join(map(str, seeds))


def to_dict(summary: Summary) -> dict[str, Any]:
    """Everything as plain values, unrounded."""

    def plain(method: Method) -> dict[str, Any]:
        found = {k: e.to_dict() for k, e in method.estimates.items()}
        domains = {k: e.to_dict() for k, e in method.domains.items()}
        return dict(estimates=found, domains=domains, failed=method.failed, missing=method.missing)

    return dict(
        planned=[str(run) for run in summary.planned],
        finished=[result.name for result in summary.finished],
        failed={result.name: result.error for result in summary.failed},
        missing=[str(run) for run in summary.missing],
        groups=[
            dict(
                {name: getattr(group, name) for name in _PLAIN},
                correlations={name: vars(c) for name, c in group.correlations.items()},
                notes=group.notes,
                methods={name: plain(method) for name, method in group.methods.items()},
            )
            for group in summary.groups
        ],
    )
