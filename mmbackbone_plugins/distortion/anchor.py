"""Reference weights theta0: the weights that fine-tuning started from.

They are outside the module tree, so that neither checkpoints of the model nor EMA copies see them,
and travel with the checkpoint: a resumed run that took them anew would measure from tuned weights.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

import torch
from torch import nn

from ..utils.checkpoints import other_prefix, weights_of
from ..utils.text import some


@dataclass(frozen=True)
class Anchor:
    """Reference weights: clones of parameters and buffers by their name in the model."""

    tensors: dict[str, torch.Tensor] = field(repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        names: Iterable[str],
        device: Optional[Union[str, torch.device]] = None,
    ) -> 'Anchor':
        """Clones parameters and persistent buffers; by default beside the originals."""
        state = named_tensors(model)
        return cls({n: state[n].detach().to(device, copy=True) for n in names})

    @classmethod
    def load(
        cls,
        tensors: Mapping[str, torch.Tensor],
        model: nn.Module,
        names: Iterable[str],
        device: Optional[Union[str, torch.device]] = None,
    ) -> 'Anchor':
        """Takes tensors out of saved ones; a ValueError lists those that do not fit the model."""
        state, names = named_tensors(model), list(names)
        wrong = [f'{n} (missing)' for n in names if n not in tensors]
        wrong += [
            f'{n} (shape {tuple(tensors[n].shape)}, the model has {tuple(state[n].shape)})'
            for n in names
            if n in tensors and tensors[n].shape != state[n].shape
        ]
        if wrong:
            raise ValueError(f'the saved reference weights do not fit this model: {some(wrong, 3)}')
        return cls({n: tensors[n].detach().to(device or state[n].device, copy=True) for n in names})

    def fingerprint(self) -> str:
        """A hash of names, shapes and bits: equal exactly for equal anchors."""
        return fingerprint_tensors(self.tensors)


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a model by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def fingerprint_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of names, shapes, types and bits, of 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def tensors_of_checkpoint(
    checkpoint: Mapping, names: Iterable[str], target: str, label: str = 'the checkpoint'
) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint under their names in a detector.

    ``target`` is the dotted path of the module that the checkpoint may be of alone, as files of
    pre-trained backbones are; then it is put before all names. ``label`` is how messages begin. A
    ValueError if it holds no tensors, or those that are wanted under another prefix.
    """
    names = list(names)
    state = weights_of(checkpoint, label)
    if target and not any(name in state for name in names):
        within = [name.removeprefix(f'{target}.') for name in names]
        if hint := other_prefix(state, within):
            raise ValueError(f'{label} is not of this model{hint}')
        state = {f'{target}.{name}': tensor for name, tensor in state.items()}
    return state
