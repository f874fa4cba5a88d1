"""Where blocks stand in a forward pass: hooks that put them there.

They are methods of objects, so that a copied backbone runs its own copies of the blocks.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Optional

from torch import Tensor, nn

from .families import Apply, on_channels_last, on_tokens

BRANCHES = ('attn', 'mlp')  # names of the blocks of a transformer's layer, by what they are behind


class Grid:
    """Height and width of the map whose tokens are on their way."""

    def __init__(self) -> None:
        self.size: Optional[Sequence[int]] = None

    def of_embedding(self, module: Any, args: Sequence[Any], output: Any) -> None:
        """A hook of a patch embedding: it returns tokens and ``(H, W)``, or tokens (timm)."""
        known = isinstance(output, tuple)
        self.size = output[1] if known else module.dynamic_feat_size(args[0].shape[-2:])

    def of_arguments(self, module: nn.Module, args: Sequence[Any]) -> None:
        """A hook before what is told ``(H, W)`` with its tokens, or has ``(N, H, W, C)``."""
        if len(args) > 1 and isinstance(args[1], (tuple, list)):
            self.size = args[1]
        elif args[0].ndim == 4:
            self.size = args[0].shape[1:3]


class Placed:
    """A block on the output of a module; the ``grid`` knows ``(H, W)`` where that is not told."""

    def __init__(
        self, where: str, block: nn.Module, apply: Apply, grid: Optional[Grid] = None
    ) -> None:
        self.where, self.block, self.apply, self.grid = where, block, apply, grid

    def __call__(self, module: nn.Module, args: Sequence[Any], output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f'{self.where} ({type(module).__name__}) returned a {type(output).__name__} and '
                'not one tensor: StageBlockBackbone cannot put a block after it'
            )
        if self.grid is not None:
            args = (output, self.grid.size)
        changed = self.apply(self.block, output, args)
        if changed.shape != output.shape:
            raise ValueError(
                f'the block after {self.where} ({type(self.block).__name__}) made '
                f'{tuple(changed.shape)} of {tuple(output.shape)}; a block keeps the shape'
            )
        return changed


class BetweenBranches(Placed):
    """A block on the sum of a transformer layer's input and its attention.

    The sum is nobody's output: it goes from hand to hand inside the layer's forward pass, to the
    second branch and around it. So the block's result is written into it, where the second branch
    begins: at its norm, or at the MLP where norms come last (Swin V2).
    """

    _awaited = False

    def attention_has_run(self, module: nn.Module, args: Sequence[Any], output: Any) -> None:
        """A hook of the attention."""
        self._awaited = True

    def before_branch(self, module: nn.Module, args: Sequence[Any]) -> None:
        """A hook before whatever the second branch may begin with."""
        if self._awaited:
            self._awaited = False
            # A clone: what the block keeps for its backward pass must not be written over.
            args[0].copy_(self(module, args, args[0].clone()))


def on_layer(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on what is between the branches of a transformer: tokens, or ``(N, H, W, C)``."""
    return (on_channels_last if output.ndim == 4 else on_tokens)(block, output, args)


def transformer_layers(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of the layers that are attention and an MLP, from input to output."""
    for path, module in backbone.named_modules():
        parts = dict(module.named_children())
        if 'attn' in parts and parts.keys() & {'ffn', 'mlp'} and parts.keys() & {'norm2', 'ln2'}:
            if any(hasattr(m, 'num_heads') for m in parts['attn'].modules()):
                yield path, module


def layer_channels(layer: nn.Module) -> int:
    """Width of the tokens of a transformer layer."""
    parts = dict(layer.named_children())
    return next(p.numel() for n in ('norm2', 'ln2') if n in parts for p in parts[n].parameters())


def place_in_layer(layer: nn.Module, where: str, blocks: Any, grid: Grid) -> None:
    """Puts a block after the attention of a transformer layer and one after its MLP."""
    parts = dict(layer.named_children())
    between = BetweenBranches(f'the attention of {where}', blocks[BRANCHES[0]], on_layer, grid)
    for part in (layer, parts['attn']):
        part.register_forward_pre_hook(grid.of_arguments)
    parts['attn'].register_forward_hook(between.attention_has_run)
    for name in parts.keys() & {'norm2', 'ln2', 'ffn', 'mlp'}:
        parts[name].register_forward_pre_hook(between.before_branch)
    layer.register_forward_hook(Placed(where, blocks[BRANCHES[1]], on_layer, grid))
