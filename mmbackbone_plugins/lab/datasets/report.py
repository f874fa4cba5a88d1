"""What was found in the files of a data set."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Optional

from ...utils.text import table
from .labels import Flaw


@dataclass
class SplitReport:
    """What is in one split."""

    name: str
    images: int = 0  # pictures that can be loaded
    used: int = 0  # pictures of one epoch: what filter_cfg and indices of the config leave
    originals: int = 0  # pictures that patches were cut from; as images where none were cut
    empty: int = 0  # pictures without a box
    difficult: int = 0  # boxes marked so
    classes: Counter = field(default_factory=Counter)  # boxes by class
    official: Optional[int] = None  # pictures in the release, where that is known
    ids: frozenset = frozenset()  # names of the pictures


@dataclass
class DataReport:
    """What is in a data set, and what is wrong; ``unit`` is what is counted by class."""

    splits: list[SplitReport]
    flaws: list[tuple[str, Flaw]]
    unit: str = 'boxes'

    def text(self, shown: int = 10) -> str:
        """Counts as tables, and the first flaws of each kind."""
        rows = [f'split pictures used originals official empty {self.unit} difficult'.split()]
        for split in self.splits:
            counts = [split.images, split.used, split.originals, split.official, split.empty]
            counts += [sum(split.classes.values()), split.difficult]
            rows.append([split.name, *('-' if c is None else f'{c:,}' for c in counts)])
        lines = [table(rows), 'used: what filter_cfg and indices of the config leave']
        lines += [
            'originals: before they were cut into patches; official: originals in the release'
        ]
        names = list(dict.fromkeys(name for split in self.splits for name in split.classes))
        rows = [['class', *(split.name for split in self.splits)]]
        rows += [[n, *(f'{split.classes[n]:,}' for split in self.splits)] for n in names]
        lines += ['', table(rows), '']
        kinds = Counter(flaw.kind for _, flaw in self.flaws)
        if not kinds:
            return '\n'.join([*lines, self.verdict()])
        for kind, count in kinds.most_common():
            of_kind = [(split, flaw) for split, flaw in self.flaws if flaw.kind == kind]
            stops = ', training stops' if any(flaw.stops for _, flaw in of_kind) else ''
            lines.append(f'{kind}: {count:,}{stops}')
            for split, flaw in of_kind[:shown]:
                detail = f': {flaw.detail}' if flaw.detail else ''
                lines.append(f'  {split}: {flaw.where}{detail}')
            if count > shown:
                lines.append(f'  and {count - shown:,} more')
        return '\n'.join([*lines, '', self.verdict()])

    def verdict(self) -> str:
        """What all of it comes to, in one line."""
        if not self.flaws:
            return 'nothing is wrong'
        stops = sum(flaw.stops for _, flaw in self.flaws)
        return f'flaws: {len(self.flaws):,}; those that stop training: {stops:,}'

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        names = ('name', 'images', 'used', 'originals', 'official', 'empty', 'difficult')
        splits = [
            dict(
                {name: getattr(split, name) for name in names},
                **{self.unit: sum(split.classes.values())},
                classes=dict(split.classes),
            )
            for split in self.splits
        ]
        return dict(splits=splits, flaws=[dict(split=n, **f._asdict()) for n, f in self.flaws])
