"""How many stages an epoch may train so that a whole run keeps to a budget of FLOPs.

Whole numbers throughout: a promise not to exceed a budget is not left to rounding.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Optional

from ..registry import FREEZING_SCHEDULES
from ..utils.checks import choice, is_number, whole_number
from .schedules import FreezingSchedule, Stages

SIGNALS = ('rgn', 'drift')


class EpochBudget:
    """Divides the FLOPs that a run may spend evenly over its epochs.

    Every epoch trains a suffix of the stages, for a trained stage below a frozen one needs the
    backward pass through both. What an epoch may cost is what is left divided by the epochs that
    are left: what one epoch does not spend all later ones share. So an epoch always leaves enough
    for the others with everything frozen, and a run in which every epoch takes the longest suffix
    it may take ends below the budget by no more than the largest difference in cost between two
    neighbouring suffixes.

    Costs are FLOPs of an epoch by the number of stages that train, from 0 to all, which is full
    fine-tuning; ``measuring`` those of a signal, once before every epoch but the first. A
    ValueError if costs decrease or the budget, a share, does not pay for a frozen run.
    """

    def __init__(
        self, costs: Sequence[int], budget: float, epochs: int, measuring: int = 0
    ) -> None:
        if any(more < less for less, more in zip(costs, costs[1:])):
            raise ValueError(f'costs must not decrease with the stages that train, got {costs}')
        self.costs = list(costs)
        self.epochs = epochs
        self.measuring = measuring
        full = epochs * self.costs[-1]
        self.ceiling = int(Fraction(str(budget)) * full)
        least = epochs * self.costs[0] + (epochs - 1) * measuring
        if least > self.ceiling:
            share = -(-1000 * least // full) / 1000  # rounded up: what is named must do
            passes = ' and measures its signal' if measuring else ''
            allowed = f'allowed is {share} to 1' if share <= 1 else 'no budget pays for that'
            raise ValueError(
                f'budget={budget}: a run of {epochs} epochs that trains no stage{passes} costs '
                f'{share} of full fine-tuning; {allowed}'
            )

    def spent(self, decisions: Sequence[int]) -> int:
        """FLOPs of the first epochs, by the number of stages in each, and of measuring."""
        passes = max(len(decisions) - 1, 0)
        return sum(self.costs[count] for count in decisions) + passes * self.measuring

    def affordable(self, decisions: Sequence[int]) -> int:
        """The largest number of stages that the next epoch may train."""
        epochs = self.epochs - len(decisions)
        # The passes to come are set aside at once, so that they do not fall on the last epochs.
        aside = (self.epochs - max(len(decisions), 1)) * self.measuring
        left = self.ceiling - self.spent(decisions) - aside
        return max(i for i, cost in enumerate(self.costs) if i == 0 or cost * epochs <= left)

    def choose(
        self, decisions: Sequence[int], signal: Optional[Sequence[float]], sign: int = 1
    ) -> int:
        """Number of stages that the next epoch trains; 0 only where no more is affordable.

        The signal is a number by stage, from input to output, NaN where there is none. Chosen is
        the suffix with the highest (``sign=-1``: lowest) mean over its stages, of equals the longer
        one; without a signal the longest that is affordable.
        """
        most = self.affordable(decisions)
        if signal is None or most == 0:
            return most
        means: list[float] = []
        for start in range(len(signal) - 1, len(signal) - 1 - most, -1):
            known = [sign * value for value in signal[start:] if value == value]
            means.append(sum(known) / len(known) if known else float('-inf'))
        return max(range(1, most + 1), key=lambda count: (means[count - 1], count))


@FREEZING_SCHEDULES.register_module()
class BudgetedFreezing(FreezingSchedule):
    """Decides before every epoch which stages train, at no more than a share of the full cost.

    Every epoch trains the last few stages before the output, or none: of what
    :class:`EpochBudget` can pay, the suffix whose stages have the highest (``sign=-1``: lowest)
    mean signal. The first epoch trains the longest. The hook measures the signal, decides on the
    first process and keeps the decisions in the checkpoint; from them this object answers.

    Args:
        budget: Share of the training FLOPs of full fine-tuning that the run may cost, in (0, 1].
        signal: ``'rgn'``: the relative gradient norm of every stage in a few batches, which count
            in the budget. ``'drift'``: how far a stage is from its pre-trained weights, relative.
        sign: 1 or -1.
        num_batches: Batches that ``'rgn'`` is measured in.

    Attributes:
        decisions: Number of stages that train in each epoch that has been decided.

    Raises:
        ValueError: If an argument is none of these.

    Source:
        Our own rule; in arXiv 2407.15143 that a schedule decide for itself is future work.

    Examples:
        >>> from mmbackbone_plugins import BudgetedFreezing
        >>> schedule = BudgetedFreezing(budget=0.7, signal='rgn')
        >>> schedule.decisions += [2, 1]
        >>> [sorted(schedule.trainable(e, 0, ['stage1', 'stage2', 'stage3'])) for e in range(2)]
        [['stage2', 'stage3'], ['stage3']]
    """

    decides = True

    def __init__(
        self, budget: float = 0.7, signal: str = 'rgn', sign: int = 1, num_batches: int = 5
    ) -> None:
        super().__init__()
        if not is_number(budget) or not 0 < budget <= 1:
            raise ValueError(
                f'budget must be a share of full fine-tuning above 0 and at most 1, got {budget!r}'
            )
        self.budget = float(budget)
        self.signal = choice('signal', signal, SIGNALS)
        self.sign = choice('sign', sign, (1, -1))
        self.num_batches = whole_number('num_batches', num_batches, 1, 'a positive integer')
        self.decisions: list[int] = []

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        if time >= len(self.decisions):
            raise ValueError(f'{self!r} has not decided epoch {time + 1} yet')
        return stages[len(stages) - self.decisions[time] :]

    def possible(self, stages: Stages) -> list[frozenset[str]]:
        return [frozenset(stages[start:]) for start in range(len(stages) + 1)]
