"""The rule against closed forms; budgets, monotonicity, and what is refused."""

import math
import random

import numpy as np
import pytest
import torch

from mmbackbone_plugins.spectra import (
    SecondMoment,
    determine_widths,
    merged,
    resampled,
    widths_at,
    widths_by_threshold,
)

DIMENSIONS = dict(stem=60, stage1=50, stage2=20)
BASELINE = dict(stem=64, stage1=128, stage2=256)


def chain(widths):
    """Multiply-adds of a chain of 1x1 convolutions on one pixel."""
    values = [3, *widths.values()]
    return sum(a * b for a, b in zip(values, values[1:]))


@pytest.mark.parametrize('multiple', [1, 2, 8, 32])
@pytest.mark.parametrize('budget', [500, 5_000, 123_456, 10**9])
def test_a_quadratic_cost_in_closed_form(multiple, budget):
    """One layer that costs w * w: its width is the square root of the budget, rounded down."""
    if multiple**2 > budget:
        return
    plan = determine_widths(
        dict(a=40), dict(a=64), lambda widths: widths['a'] ** 2, budget, multiple
    )
    assert plan.widths['a'] == multiple * (math.isqrt(budget) // multiple)
    assert plan.macs == plan.widths['a'] ** 2 <= plan.budget == budget
    # alpha is the largest one: the next float rounds up, out of the budget.
    following = (plan.widths['a'] + multiple / 2) / 40
    assert plan.alpha == pytest.approx(following, rel=1e-12)


def test_widths_are_proportional_to_dimensionalities():
    plan = determine_widths(dict(a=10, b=20, c=40), dict(a=64, b=64, c=64), chain, 10**8, 1)
    a, b, c = plan.widths.values()
    assert abs(b - 2 * a) <= 1 and abs(c - 4 * a) <= 2
    # 3 a + 2 a a + 8 a a = 1e8
    assert a == pytest.approx((-3 + math.sqrt(9 + 40 * 1e8)) / 20, abs=1)


def test_against_a_search_over_all_alphas():
    """Every step of the rounding is tried, one after another."""
    draw = random.Random(0)
    for _ in range(50):
        names = [f'layer{i}' for i in range(draw.randint(1, 6))]
        baseline = {n: 8 * draw.randint(2, 40) for n in names}
        dimensions = {n: draw.randint(1, baseline[n]) for n in names}
        multiple = draw.choice([1, 4, 8, 16])
        plan = determine_widths(dimensions, baseline, chain, multiple=multiple)
        assert plan.budget == chain(baseline) >= plan.macs == chain(plan.widths)
        steps = {(k + 0.5) * multiple / d for d in dimensions.values() for k in range(1, 3000)}
        best = widths_at(0, dimensions, multiple)
        for alpha in sorted(steps):
            widths = widths_at(alpha * (1 + 1e-12), dimensions, multiple)
            if chain(widths) > plan.budget:
                break
            best = widths
        assert plan.widths == best


def test_a_larger_budget_makes_no_layer_narrower():
    before = None
    for budget in range(600, 60_000, 700):
        plan = determine_widths(DIMENSIONS, BASELINE, chain, budget)
        assert plan.macs <= budget
        assert all(w % 8 == 0 and w >= 8 for w in plan.widths.values())
        if before is not None:
            assert plan.alpha >= before.alpha
            assert all(plan.widths[n] >= before.widths[n] for n in BASELINE)
        before = plan


def test_full_dimensionalities_give_the_baseline_back():
    plan = determine_widths(BASELINE, BASELINE, chain)
    assert plan.widths == BASELINE and plan.macs == plan.budget
    assert 1 <= plan.alpha < 1 + 8 / 256


def test_narrow_features_late_move_channels_to_the_front():
    plan = determine_widths(DIMENSIONS, BASELINE, chain)
    assert plan.widths['stem'] > 64 and plan.widths['stage2'] < 256
    assert plan.macs <= chain(BASELINE)


def test_arguments_are_not_changed_and_the_result_is_the_same():
    dimensions, baseline = dict(DIMENSIONS), dict(BASELINE)

    def greedy(widths):
        cost = chain(widths)
        widths.clear()
        return cost

    first = determine_widths(dimensions, baseline, greedy)
    assert (dimensions, baseline) == (DIMENSIONS, BASELINE)
    assert first == determine_widths(dimensions, baseline, chain)


def test_a_layer_without_dimension_is_as_narrow_as_can_be():
    plan = determine_widths({**DIMENSIONS, 'stage2': 0}, BASELINE, chain)
    assert plan.widths['stage2'] == 8


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(budget=100), r'budget of 100 MACs is impossible: .* smallest, 8, .* needs 152 MACs'),
        (dict(budget=0), r'budget of 0 MACs is impossible'),
        (dict(budget=float('nan')), r'budget must be a finite number of MACs, .* got nan'),
        (dict(budget=float('inf')), r'budget must be a finite number of MACs, .* got inf'),
        (dict(budget=-1), r'budget must be a finite number of MACs, at least 0, got -1'),
        (dict(budget='1e9'), r"budget must be a finite number of MACs, at least 0, got '1e9'"),
        (dict(multiple=0), r'multiple must be a positive integer, got 0'),
        (dict(multiple=2.5), r'multiple must be a positive integer, got 2.5'),
        (dict(dimensionalities=dict(stem=1)), r"same layers.* has \['stage1', 'stage2'\]"),
        (dict(dimensionalities={}, baseline_widths={}), r'same layers, at least one'),
        (
            dict(dimensionalities={**DIMENSIONS, 'stem': 65}),
            r"'stem' must be from 0 to .* 64, got 65",
        ),
        (dict(dimensionalities={**DIMENSIONS, 'stem': -1}), r"'stem' must be from 0 .* got -1"),
        (dict(dimensionalities=dict.fromkeys(DIMENSIONS, 0)), r'threshold is above all'),
        (dict(macs=lambda w: math.nan, budget=9), r'macs must be a finite number of MACs, .* nan'),
        (dict(macs=lambda widths: 5), r'macs must grow with the widths'),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = dict(dimensionalities=DIMENSIONS, baseline_widths=BASELINE, macs=chain)
    with pytest.raises(ValueError, match=message):
        determine_widths(**{**arguments, **changes})


def spectrum(dimension, width):
    """Falls by half from one to the next; above 2 ** -dimension there are as many."""
    return torch.tensor([2.0**-k for k in range(width)]) * (dimension > 0)


def test_widths_by_threshold_are_those_of_the_dimensionalities_there():
    spectra = dict(stem=4 * spectrum(1, 64), stage1=spectrum(1, 128), stage2=spectrum(0, 256))
    plans = widths_by_threshold(spectra, [0.3, 1e-3, 5.0], BASELINE, chain)
    assert list(plans) == [0.3, 1e-3]  # nothing is above five
    assert plans[0.3].dimensionalities == dict(stem=4, stage1=2, stage2=0)
    assert plans[1e-3].dimensionalities == dict(stem=12, stage1=10, stage2=0)
    for plan in plans.values():
        assert plan == determine_widths(plan.dimensionalities, BASELINE, chain)
    relative = widths_by_threshold(spectra, [0.3], BASELINE, chain, relative=True)[0.3]
    assert relative.dimensionalities == dict(stem=2, stage1=2, stage2=0)
    with pytest.raises(ValueError, match='threshold must be positive and finite, got 0'):
        widths_by_threshold(spectra, [0], BASELINE, chain)


def groups_of(features):
    """Each image is a group."""
    found = []
    for image in features:
        moment = SecondMoment(features.shape[1])
        moment.update(image[None])
        found.append(dict(layer=moment))
    return found


def test_resamples_are_moments_of_images_drawn_with_replacement():
    features = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    groups = groups_of(features)
    before = [g['layer'].matrix() for g in groups]
    flat = features.flatten(2)
    each = flat @ flat.transpose(1, 2) / 25
    assert torch.allclose(merged(groups)['layer'].matrix(), each.mean(0), rtol=1e-12)
    draws = [m['layer'].matrix() for m in resampled(groups, 30, seed=1)]
    again = [m['layer'].matrix() for m in resampled(groups, 30, seed=1)]
    assert all(torch.equal(a, b) for a, b in zip(draws, again))
    generator = np.random.default_rng(1)
    for drawn in draws:
        wanted = each[generator.integers(4, size=4)].mean(0)
        assert torch.allclose(drawn, wanted, rtol=1e-12)
    assert len({d[0, 0].item() for d in draws}) > 15
    assert all(torch.equal(a, g['layer'].matrix()) for a, g in zip(before, groups))
    with pytest.raises(ValueError, match='groups must be at least two to be resampled, got 1'):
        next(resampled(groups[:1], 1))
