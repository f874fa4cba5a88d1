"""A backbone with blocks after its stages or in its transformer blocks."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Optional, cast

from mmengine.model import ModuleDict, ModuleList
from mmengine.registry import MODELS
from torch import nn

from ..stages import Division, divide_inside
from ..utils.checks import choice
from .block_configs import backbone_class, block_configs, refuse_block_options, require_config
from .families import StageOutput, stage_at, stage_outputs
from .placement import BRANCHES, Grid, Placed, layer_channels, place_in_layer, transformer_layers

POSITIONS = ('after_stage', 'in_blocks')


@MODELS.register_module()
class StageBlockBackbone:
    """A backbone with a block after each stage, or two in each layer of a transformer.

    What is built *is* the original backbone: an object of a subclass of its class, with its
    attributes, its ``init_weights`` and its loading of checkpoints, and with the blocks in one
    more child, ``blocks``. All names stay: a plain checkpoint lacks ``blocks.*`` and nothing else,
    and a checkpoint of this backbone has ``blocks.*`` and nothing else too much.

    The output of a block feeds what comes next: the next stage and the neck, or the next branch.
    That of a stage is what its last layer returns: in ResNet after the last ReLU, in Swin and
    ConvNeXt before the output norm and before the downsampling. In a layer of a transformer one
    block takes the sum of the layer's input and its attention, and one the layer's output.

    The backbone's own ``frozen_stages`` and ``norm_eval`` are about pre-trained weights and do not
    reach the blocks. In a ``StageMap`` a block is a stage of its own, ``<stage>.block``, and a
    freezing schedule leaves it trainable and in train mode unless ``freeze_blocks=True``. A block
    before a frozen stage needs the gradient with respect to that stage's input, so the frozen
    stage keeps its graph and activations.

    Args:
        backbone: Config of the backbone, its ``init_cfg`` and ``frozen_stages`` included.
        block: Config of the block, e.g. ``dict(type='SEBlock', init='identity')``: any module
            whose first argument is ``in_channels`` and that keeps the shape ``(N, C, H, W)``.
        stages: Names of the stages that get a block, e.g. ``['stage3', 'stage4']``; None for all.
        per_stage: Options of the block that differ from stage to stage: lists with a value for
            each of ``stages``, e.g. ``dict(reduction=[4, 8, 16, 32])``.
        position: ``'after_stage'``, or ``'in_blocks'``: in the transformer's blocks, after the
            attention and after the MLP of each layer of ``stages``.
        **options: Options of the backbone, over those in its config, so that
            ``model.backbone.init_cfg=None`` does here what it does without blocks.

    Raises:
        ValueError: If the backbone is of no known family, its channels cannot be inferred, a
            stage does not exist, an option of the block is unknown or a list of the wrong
            length, or blocks are to be in layers of attention and there are none.

    Source:
        "Mind the Backbone", arXiv 2303.14744, from the authors' code: one SE block after each
        stage. Mona's code has two in each layer. For other blocks and families, our reading.

    Examples:
        >>> backbone = dict(
        ...     type='StageBlockBackbone',
        ...     backbone=dict(type='mmdet.ResNet', depth=50),
        ...     block=dict(type='SEBlock', init='identity'),
        ...     per_stage=dict(reduction=[4, 8, 16, 32]),
        ... )
    """

    blocks: Any
    _own_stages: Division
    _block_of_layer: dict[str, str] = {}
    _original: type

    def __new__(cls, backbone: Mapping[str, Any], *args: Any, **settings: Any) -> Any:
        require_config('backbone', backbone, "dict(type='mmdet.ResNet', depth=50)")
        options = settings.keys() - inspect.signature(StageBlockBackbone.__init__).parameters.keys()
        original = backbone_class({**backbone, **{name: settings[name] for name in options}})
        if StageBlockBackbone in original.__mro__:
            raise ValueError('backbone is a StageBlockBackbone already: it has its blocks')
        return object.__new__(_extended(original))

    def __init__(
        self,
        backbone: Mapping[str, Any],
        block: Mapping[str, Any],
        stages: Optional[Sequence[str]] = None,
        per_stage: Optional[Mapping[str, Sequence[Any]]] = None,
        position: str = 'after_stage',
        **options: Any,
    ) -> None:
        require_config('block', block, "dict(type='SEBlock')")
        choice('position', position, POSITIONS)
        refuse_block_options(block, options)
        config = {k: v for k, v in {**backbone, **options}.items() if k != 'type'}
        this, original = cast(Any, self), cast(Any, super())
        with MODELS.switch_scope_and_registry(config.pop('_scope_', None)):
            original.__init__(**config)
        if hasattr(self, 'blocks'):
            raise ValueError(
                f'{type(self).__name__} has an attribute "blocks" already, and StageBlockBackbone '
                'keeps its own there'
            )
        if hasattr(original, 'stage_prefixes'):
            self._own_stages = original.stage_prefixes()
        else:
            prefix, division = divide_inside(this, ask=False)
            self._own_stages = [(n, [f'{prefix}{p}'.rstrip('.') for p in ps]) for n, ps in division]
        outputs = stage_outputs(this)
        places: dict[str, Any] = {output.stage: output for output in outputs}
        if position == 'in_blocks':
            places = _layers_by_stage(this)
        chosen = _choose(list(places), stages)
        _refuse_other_stages(chosen, self._own_stages)
        configs = block_configs(block, per_stage or {}, chosen)
        grid = Grid()
        for embedding in {output.embedding for output in outputs} - {None}:
            cast(nn.Module, embedding).register_forward_hook(grid.of_embedding)
        self.blocks, self._block_of_layer = ModuleDict(), {}
        place = self._put_after if position == 'after_stage' else self._put_inside
        for stage, config in zip(chosen, configs):
            self.blocks[_key(stage)] = place(stage, places[stage], config, grid)

    def _put_after(self, stage: str, output: StageOutput, config: dict, grid: Grid) -> nn.Module:
        added = MODELS.build(dict(config, in_channels=output.channels))
        told = output.embedding is None
        placed = Placed(stage, added, output.apply, None if told else grid)
        output.module.register_forward_hook(placed)
        return added

    def _put_inside(self, stage: str, layers: dict, config: dict, grid: Grid) -> nn.Module:
        added = ModuleList()
        for path, layer in layers.items():
            width = layer_channels(layer)
            pair = ModuleDict({b: MODELS.build(dict(config, in_channels=width)) for b in BRANCHES})
            place_in_layer(layer, path, pair, grid)
            self._block_of_layer[path] = f'blocks.{_key(stage)}.{len(added)}'
            added.append(pair)
        return added

    def init_weights(self) -> None:
        """Initialises the backbone as it does without blocks, and the blocks as they do."""
        original, blocks = cast(Any, super()), getattr(self, 'blocks', None)
        if hasattr(original, 'init_weights'):
            original.init_weights()
        # Swin's own goes over all layers and asks nobody; a checkpoint may have filled the blocks.
        filled = 'Pretrained' in str(getattr(self, 'init_cfg', None))
        if blocks is not None and not blocks.is_init and not filled:
            blocks.init_weights()

    def train(self, mode: bool = True) -> 'StageBlockBackbone':
        cast(Any, super()).train(mode)  # of MMDetection's ResNet, returns None
        blocks = getattr(self, 'blocks', None)  # some call this while they are built
        if blocks is not None:
            # norm_eval keeps pre-trained statistics; those of a block are as new as the head's.
            blocks.train(mode)
        return self

    def stage_prefixes(self) -> Division:
        """The stages of the original, each followed by ``<stage>.block`` if it has one."""
        division: Division = []
        for name, prefixes in self._own_stages:
            division.append((name, prefixes))
            if _key(name) in self.blocks:
                division.append((f'{name}.block', [f'blocks.{_key(name)}']))
        return division

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # The authors of Mona have their two blocks in the layer itself.
        for key in list(state_dict):
            layer, inside, rest = key.partition('.my_module_')
            ours = self._block_of_layer.get(layer.removeprefix(prefix))
            if inside and ours and rest[:2] in ('1.', '2.'):
                name = f'{prefix}{ours}.{BRANCHES[int(rest[0]) - 1]}.{rest[2:]}'
                state_dict[name] = state_dict.pop(key)
        cast(Any, super())._load_from_state_dict(state_dict, prefix, *args)

    def _get_name(self) -> str:
        return f'StageBlock{type(self).__name__}'

    def __reduce_ex__(self, protocol: Any) -> tuple:
        # Copies and pickles find a class that was made at run time by the one it extends.
        return _restore, (type(self)._original,), super().__reduce_ex__(protocol)[2]


@functools.cache
def _extended(original: type) -> type:
    """The subclass of a backbone's class that is a StageBlockBackbone; one for each class."""
    own = dict(_original=original, __module__=__name__)
    # With the name of the original: rules of a family go by that, and mmdet's layer decay.
    return type(original.__name__, (StageBlockBackbone, original), own)


def _restore(original: type) -> nn.Module:
    return object.__new__(_extended(original))


def _key(stage: str) -> str:
    return stage.replace('.', '_')  # a module's name holds no dot


def _layers_by_stage(backbone: nn.Module) -> dict[str, dict[str, nn.Module]]:
    found: dict[str, dict[str, nn.Module]] = {}
    for path, layer in transformer_layers(backbone):
        found.setdefault(stage_at(backbone, path) or '', {})[path] = layer
    if not found:
        raise ValueError(
            f"position='in_blocks': {type(backbone).__name__} has no transformer blocks, layers of "
            "attention and an MLP; position='after_stage' puts blocks after its stages"
        )
    return found


def _choose(known: list[str], stages: Optional[Sequence[str]]) -> list[str]:
    if stages is None:
        return known
    names = ', '.join(map(repr, known))
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise ValueError(f'stages must be a list of {names}, got {stages!r}')
    wrong = [s for s in stages if s not in known]
    if wrong or len(set(stages)) < len(stages):
        fault = f'there is no {wrong[0]!r}' if wrong else 'one is there twice'
        raise ValueError(f'stages must be a list of {names}, got {list(stages)!r}: {fault}')
    return list(stages)


def _refuse_other_stages(chosen: list[str], division: Division) -> None:
    """A block of a stage that a StageMap does not know would freeze with its neighbours."""
    names = [name for name, _ in division]
    unknown = [stage for stage in chosen if stage not in names]
    if unknown:
        raise ValueError(
            f'a rule for stage outputs names {unknown[0]!r}, but the stages of the backbone are '
            f'{", ".join(names)}; see stage_rule'
        )
