"""theta0 in a run: one copy for all hooks, one in the checkpoint, or from ``anchor=FILE``."""

import logging
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Optional, Union

from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from ..distortion.anchor import Anchor, named_tensors, tensors_of_checkpoint
from ..utils import checkpoints
from .checkpoint_keys import ANCHOR_KEY


def find_anchor(
    runner: Any,
    hook: Hook,
    model: nn.Module,
    names: Iterable[str],
    checkpoint: Optional[dict[str, Any]],
    offload: bool = False,
    hint: str = '',
) -> Anchor:
    """theta0 of some tensors; those that hooks before this one hold already are not copied.

    ``checkpoint`` is that of the run that is resumed, whose theta0 is let go for what is found; a
    ValueError if it has some of them only, or of other shapes. It is None in a fresh run, whose
    weights are theta0. ``offload``: they may be in main memory instead of beside the model's own.
    The warning of a checkpoint without theta0 ends with the ``hint``.
    """
    saved = None if checkpoint is None else checkpoint.get(ANCHOR_KEY)
    if saved is None and checkpoint is not None:
        print_log(
            f'{type(hook).__name__}: the checkpoint to resume from has no theta0, it was saved '
            'by a run without this hook. The weights of this checkpoint are taken for theta0'
            f'{hint}',
            logger='current',
            level=logging.WARNING,
        )
    # Later hooks may still have that of an earlier training.
    holders = [a for h in takewhile(lambda h: h is not hook, runner.hooks) if (a := _anchor_of(h))]
    held = {name: tensor for anchor in holders for name, tensor in anchor.tensors.items()}
    names, state = list(names), named_tensors(model)
    shared = {
        n: held[n] for n in names if n in held and (offload or held[n].device == state[n].device)
    }
    rest, device = [n for n in names if n not in shared], 'cpu' if offload else None
    own = Anchor.of(model, rest, device)
    if saved is not None:
        own = Anchor.load(saved, model, rest, device)
    for anchor in holders:  # what one of them has offloaded: one copy is enough
        anchor.tensors.update({n: t for n, t in own.tensors.items() if n in anchor.tensors})
    found = Anchor({**own.tensors, **shared})
    if checkpoint is not None:
        checkpoint[ANCHOR_KEY] = found.tensors
    return found


def save_anchor(checkpoint: dict[str, Any], anchor: Anchor) -> None:
    """Sends theta0 along, but for what another hook has sent already."""
    sent = checkpoint.setdefault(ANCHOR_KEY, {})
    sent.update((n, t.cpu()) for n, t in anchor.tensors.items() if n not in sent)


def _anchor_of(hook: Any) -> Optional[Anchor]:
    """What a hook holds of the weights that the run started from."""
    holder = getattr(hook, 'decisions', None) or hook
    anchor = getattr(holder, 'anchor', None)
    own = isinstance(anchor, Anchor) and not getattr(hook, 'anchor_file', None)
    return anchor if own else None


def read_anchor(
    path: str, model: nn.Module, names: Sequence[str], target: Union[str, Sequence[str]]
) -> Anchor:
    """Reads theta0 from a file or address, of a detector or the target; else a ValueError."""
    if not checkpoints.is_address(path) and not Path(path).expanduser().exists():
        raise ValueError(f'anchor={path!r}: there is no such file')
    label = f'anchor={path!r}'
    loaded = checkpoints.read(path, label)
    tensors = tensors_of_checkpoint(loaded, names, target if isinstance(target, str) else '', label)
    try:
        return Anchor.load(tensors, model, names)
    except ValueError as error:
        raise ValueError(f'{label}: {error}') from None


def check_same(path: str, anchor: Anchor, before: Optional[str]) -> None:
    """Refuses another theta0 than a run began with, ``before``; None: it had no such file."""
    if before != anchor.fingerprint():
        was = 'the weights it started from' if before is None else f'fingerprint {before}'
        raise ValueError(
            f'anchor={path!r} has fingerprint {anchor.fingerprint()}, but the run that is '
            f'resumed was held to {was}: the file has changed, or is another one'
        )
