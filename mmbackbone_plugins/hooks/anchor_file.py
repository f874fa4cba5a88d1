"""theta0 from a file, given as ``anchor=FILE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from torch import nn

from ..distortion.anchor import Anchor, tensors_of_checkpoint
from ..utils import checkpoints


def read_anchor(
    path: str, model: nn.Module, names: Sequence[str], target: Union[str, Sequence[str]]
) -> Anchor:
    """Reads theta0 of some parameters.

    Args:
        path: File or address, of a detector or of the target alone.
        model: The model, without a distributed wrapper.
        names: Names of the parameters.
        target: Dotted path of the target, or a list of paths.

    Raises:
        ValueError: If it is not there, cannot be read, or does not fit.
    """
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
    """Refuses to go on with another theta0 than that which a run was begun with.

    Args:
        path: The file.
        anchor: What it holds now.
        before: Its fingerprint then; None if the run had no such file.

    Raises:
        ValueError: If they differ.
    """
    if before != anchor.fingerprint():
        was = 'the weights it started from' if before is None else f'fingerprint {before}'
        raise ValueError(
            f'anchor={path!r} has fingerprint {anchor.fingerprint()}, but the run that is '
            f'resumed was held to {was}: the file has changed, or is another one'
        )
