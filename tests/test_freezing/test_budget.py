"""The budget of BudgetedFreezing, against promises that need no knowledge of how it decides."""

import math
import random
from fractions import Fraction

import pytest

from mmbackbone_plugins.freezing.budget import BudgetedFreezing, EpochBudget


def _random_case(seed):
    draw = random.Random(seed)
    steps = [draw.choice([0, draw.randint(1, 50), draw.randint(1, 5000)]) for _ in range(6)]
    costs = [draw.randint(1, 2000)]
    for step in steps[: draw.randint(1, 6)]:
        costs.append(costs[-1] + step)
    epochs = draw.randint(1, 40)
    measuring = draw.choice([0, draw.randint(1, 20)])
    least = Fraction(epochs * costs[0] + (epochs - 1) * measuring, epochs * costs[-1])
    budget = min(1.0, math.ceil((float(least) + draw.random()) * 1000) / 1000)
    if Fraction(str(budget)) < least:
        return None
    return EpochBudget(costs, budget, epochs, measuring), budget, draw


def _run(budget, signals, sign=1):
    decisions = []
    for number in range(budget.epochs):
        decisions.append(budget.choose(decisions, signals(number) if number else None, sign))
    return decisions


CASES = [case for case in map(_random_case, range(1100)) if case]


def test_there_are_a_thousand_cases():
    assert len(CASES) >= 1000


def test_total_is_never_above_the_ceiling():
    for budget, share, draw in CASES:
        stages = len(budget.costs) - 1

        def noise(_, draw=draw, stages=stages):
            return [draw.choice([math.nan, 0.0, draw.random(), 1e30]) for _ in range(stages)]

        decisions = _run(budget, noise, draw.choice([1, -1]))
        cost = sum(budget.costs[n] for n in decisions) + (budget.epochs - 1) * budget.measuring
        assert cost <= Fraction(str(share)) * budget.epochs * budget.costs[-1]
        assert cost == budget.spent(decisions)


def test_a_signal_that_always_wants_more_leaves_less_than_one_step_between_suffixes():
    for budget, share, _ in CASES:
        costs = budget.costs
        more = list(range(len(costs) - 1, 0, -1))
        decisions = _run(budget, lambda _, more=more: more)
        largest = max(b - a for a, b in zip(costs, costs[1:]))
        left = share * budget.epochs * costs[-1] - budget.spent(decisions)
        # A budget of 1 is not a bound that could be met from below: everything trains.
        assert left <= largest + 1 or set(decisions) == {len(costs) - 1}


@pytest.mark.parametrize('sign, best', [(1, 1), (-1, 3)])
def test_mean_signal_over_the_suffix_decides(sign, best):
    # Means from the output: 3, 2.5, 2.
    assert EpochBudget([0, 1, 2, 3], 1.0, 9).choose([3], [1.0, 2.0, 3.0], sign) == best


def test_equal_means_take_the_longer_suffix():
    assert EpochBudget([0, 1, 2, 3], 1.0, 9).choose([3], [0.1, 0.5, 0.5]) == 2


def test_stages_without_a_signal_do_not_count():
    budget = EpochBudget([0, 1, 2, 3], 1.0, 9)
    assert budget.choose([3], [math.nan, 2.0, 1.0]) == 3
    assert budget.choose([3], [math.nan] * 3) == 3


def test_first_epoch_takes_the_longest_within_its_share():
    assert EpochBudget([10, 20, 30], 0.7, 5).choose([], None) == 1
    assert EpochBudget([10, 20, 30], 1.0, 5).choose([], None) == 2


@pytest.mark.parametrize('budget', (0, -0.1, 1.01, float('nan'), True, '0.5'))
def test_bad_budgets(budget):
    with pytest.raises(ValueError, match='budget must be a share of full fine-tuning above 0'):
        BudgetedFreezing(budget=budget)


def test_budget_below_a_frozen_run_names_what_that_costs():
    with pytest.raises(ValueError, match=r'budget=0\.3.*costs 0\.334 of full.*0\.334 to 1'):
        EpochBudget([10, 20, 30], 0.3, 5)
    assert EpochBudget([10, 20, 30], 0.334, 5).choose([], None) == 0
    with pytest.raises(ValueError, match=r'measures its signal costs 0\.36 '):
        EpochBudget([10, 20, 30], 0.334, 5, measuring=1)
