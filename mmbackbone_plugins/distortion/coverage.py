"""Which parameters a penalty holds back, which it leaves, and why."""

import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from torch import nn

from ..stages import StageMap
from ..utils.text import table


@dataclass(frozen=True)
class Coverage:
    """Which parameters a penalty holds, and why it leaves the others."""

    covered: tuple[str, ...]
    skipped: dict[str, str]  # reasons by name

    @classmethod
    def of(
        cls,
        model: nn.Module,
        stage_map: StageMap,
        exclude: Sequence[str] = (),
        trains: Optional[frozenset[str]] = None,
        unloaded: Collection[str] = (),
    ) -> 'Coverage':
        """Goes through the parameters of the target; added blocks (SE, adapters) are left out.

        They have no pre-trained weights to be held to, and no more have those that are
        ``unloaded``. ``exclude`` are patterns of names as shells know them (``'*.bn?.*'``),
        ``trains`` the parameters that train at some time of the run (None: all). A ValueError if a
        pattern matches none of the target, or nothing is left.
        """
        added = tuple(
            f'{n}.' for n, m in model.named_modules() if getattr(m, 'is_added_block', False)
        )
        used, skipped = set(), {}
        for name in stage_map.parameters:
            hits = [e for e in exclude if fnmatch.fnmatchcase(name, e)]
            used.update(hits)
            if name.startswith(added) or stage_map[stage_map.stage_of(name)].is_block:
                skipped[name] = 'added block'
            elif name in unloaded:
                skipped[name] = 'unloaded'
            elif hits:
                skipped[name] = f'exclude {hits[0]!r}'
            elif trains is not None and name not in trains:
                skipped[name] = 'never trains'
        if idle := [e for e in exclude if e not in used]:
            raise ValueError(
                f'exclude: the pattern {idle[0]!r} matches no parameter; names are such as '
                f'{stage_map.parameters[0]!r}, and * stands for any characters'
            )
        found = cls(tuple(n for n in stage_map.parameters if n not in skipped), skipped)
        if not found.covered:
            reasons = ', '.join(dict.fromkeys(skipped.values()))
            raise ValueError(f'there is nothing to regularise: every parameter is left ({reasons})')
        return found

    def table(self, stage_map: StageMap, model: nn.Module) -> str:
        """What is held and what is not, stage by stage, as text."""
        sizes = {n: p.numel() for n, p in model.named_parameters()}
        rows = [('stage', 'held', 'left', 'why')]
        for stage in stage_map:
            left = [n for n in stage.parameters if n in self.skipped]
            held = sum(sizes[n] for n in stage.parameters if n not in self.skipped)
            why = ', '.join(dict.fromkeys(self.skipped[n] for n in left))
            rows.append((stage.name, f'{held:,}', f'{sum(sizes[n] for n in left):,}', why))
        return table(rows, '<>><')
