"""Names of phases, by what trains in them: what a reader of its costs looks for."""

from collections.abc import Collection, Iterable, Sequence
from typing import Optional

from ..freezing.phases import Phase
from ..stages import Stage

FULL, FROZEN, PROBING, BLOCKS = 'full', 'frozen', 'probing', 'blocks'


def phase_name(
    training: Collection[str],
    trainable: Sequence[str],
    rest: bool = True,
    probing: bool = False,
    blocks: Collection[str] = (),
) -> str:
    """Names a phase by the stages of the target of which something trains.

    ``trainable`` are all of which something may, ordered from input to output, without those that
    the model keeps frozen by itself; ``rest`` is whether all else that may train does; ``probing``
    whether nothing of the target has trained yet and something will.

    ``'full'``: everything that may train does. ``'frozen'``: nothing of the target trains;
    ``'probing'``: so far (as in DP-FT, arXiv 2303.14744); ``'blocks'``: nothing of it but added
    blocks. Else the stages that train, joined by ``+``; ``', part of the rest'`` is added where
    something outside the target is frozen too.
    """
    on = [name for name in trainable if name in training]
    if len(on) == len(trainable) and rest and trainable:
        return FULL
    name = '+'.join(name for name in on if name not in blocks)
    if not name:
        name = BLOCKS if on else PROBING if probing else FROZEN
    return name if rest else f'{name}, part of the rest'


def first_training(plan: Iterable[Phase], ruled: Collection[str]) -> Optional[int]:
    """The first epoch (or iteration) in which a ruled stage trains; None if none ever does."""
    starts = [phase.start for phase in plan if phase.trainable & frozenset(ruled)]
    return min(starts, default=None)


class PhaseNames:
    """Names the phases of a run by the parameters that train in them.

    ``allowed`` are names of those that may train, in or outside the ``stages`` that phases are
    named by, which a schedule first trains when it ``begins`` (None: never).
    """

    def __init__(
        self, stages: Iterable[Stage], allowed: frozenset[str], begins: Optional[int] = None
    ) -> None:
        self._allowed, self._begins = allowed, begins
        stages = list(stages)
        self._blocks = {s.name for s in stages if s.is_block}
        self._members = {
            s.name: held for s in stages if (held := allowed.intersection(s.parameters))
        }
        self._rest = allowed - frozenset().union(*self._members.values())

    def stages(self, training: frozenset[str]) -> list[str]:
        """The stages of which something trains."""
        return [name for name, held in self._members.items() if held & training]

    def name(self, training: frozenset[str], now: int) -> str:
        """The name of a phase, see :func:`phase_name`; ``now`` is in the unit of ``begins``."""
        if training >= self._allowed:
            return FULL
        probing = self._begins is not None and now < self._begins
        rest, stages = self._rest <= training, self.stages(training)
        name = phase_name(stages, list(self._members), rest, probing, self._blocks)
        # A part of a stage may be frozen by somebody else.
        return f'{name}, in part' if name == FULL else name
