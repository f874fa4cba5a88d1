"""A backbone with a block after each of its stages."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Optional, cast

from mmengine.model import ModuleDict
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..stages import Division, divide
from .block_configs import backbone_class, block_configs, refuse_block_options, require_config
from .families import Apply, StageOutput, stage_outputs


@MODELS.register_module()
class StageBlockBackbone:
    """A backbone with one block after each stage; its output feeds the next stage and the neck.

    What is built *is* the original backbone: an object of a subclass of its class, with its
    attributes, its ``init_weights`` and its loading of checkpoints, and with the blocks in one
    more child, ``blocks``. All names stay: a plain checkpoint lacks ``blocks.*`` and nothing else,
    and a checkpoint of this backbone has ``blocks.*`` and nothing else too much. A forward hook
    at the end of each stage puts the block into the path.

    The output of a stage is what its last layer returns: in ResNet after the last ReLU, in Swin
    and ConvNeXt before the output norm and before the downsampling.

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
        **options: Options of the backbone, over those in its config, so that
            ``model.backbone.init_cfg=None`` does here what it does without blocks.

    Raises:
        ValueError: If the backbone is of no known family, its channels cannot be inferred, a
            stage does not exist, or an option of the block is unknown or a list of the wrong
            length.

    Source:
        "Mind the Backbone", arXiv 2303.14744, from the authors' code: one SE block after each
        stage. For other blocks and families, our reading.

    Examples:
        >>> backbone = dict(
        ...     type='StageBlockBackbone',
        ...     backbone=dict(type='mmdet.ResNet', depth=50),
        ...     block=dict(type='SEBlock', init='identity'),
        ...     per_stage=dict(reduction=[4, 8, 16, 32]),
        ... )
    """

    blocks: ModuleDict
    _modules: dict[str, nn.Module]
    _own_stages: Division
    _original: type

    def __new__(
        cls,
        backbone: Mapping[str, Any],
        block: Mapping[str, Any],
        stages: Optional[Sequence[str]] = None,
        per_stage: Optional[Mapping[str, Sequence[Any]]] = None,
        **options: Any,
    ) -> Any:
        require_config('backbone', backbone, "dict(type='mmdet.ResNet', depth=50)")
        original = backbone_class({**backbone, **options})
        if StageBlockBackbone in original.__mro__:
            raise ValueError('backbone is a StageBlockBackbone already: it has its blocks')
        return object.__new__(_extended(original))

    def __init__(
        self,
        backbone: Mapping[str, Any],
        block: Mapping[str, Any],
        stages: Optional[Sequence[str]] = None,
        per_stage: Optional[Mapping[str, Sequence[Any]]] = None,
        **options: Any,
    ) -> None:
        require_config('block', block, "dict(type='SEBlock')")
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
        says = getattr(original, 'stage_prefixes', lambda: divide(this, ask=False))
        self._own_stages = says()
        chosen = _choose(stage_outputs(this), stages)
        _refuse_other_stages(chosen, self._own_stages)
        configs = block_configs(block, per_stage or {}, [output.stage for output in chosen])
        self.blocks = ModuleDict()
        for output, config in zip(chosen, configs):
            added = MODELS.build(dict(config, in_channels=output.channels))
            self.blocks[_key(output.stage)] = added
            output.module.register_forward_hook(_AfterStage(output.stage, added, output.apply))

    def train(self, mode: bool = True) -> 'StageBlockBackbone':
        cast(Any, super()).train(mode)  # of MMDetection's ResNet, returns None
        # norm_eval keeps pre-trained statistics; those of a block are as new as the head's.
        if 'blocks' in self._modules:  # some call this while they are built
            self.blocks.train(mode)
        return self

    def stage_prefixes(self) -> Division:
        """The stages of the original, each followed by ``<stage>.block`` if it has one."""
        division: Division = []
        for name, prefixes in self._own_stages:
            division.append((name, prefixes))
            if _key(name) in self.blocks:
                division.append((f'{name}.block', [f'blocks.{_key(name)}']))
        return division

    def _get_name(self) -> str:
        return f'StageBlock{type(self).__name__}'

    def __reduce_ex__(self, protocol: Any) -> tuple:
        # Copies and pickles find a class that was made at run time by the one it extends.
        return _restore, (type(self)._original,), super().__reduce_ex__(protocol)[2]


@functools.cache
def _extended(original: type) -> type:
    """The subclass of a backbone's class that is a StageBlockBackbone; one for each class.

    It has the name of the original: rules of a family go by that, and mmdet's layer decay.
    """
    own = dict(_original=original, __module__=__name__)
    return type(original.__name__, (StageBlockBackbone, original), own)


def _restore(original: type) -> nn.Module:
    return object.__new__(_extended(original))


class _AfterStage:
    """The forward hook; an object, so that a copied backbone runs its own copy of the block."""

    def __init__(self, stage: str, block: nn.Module, apply: Apply) -> None:
        self.stage, self.block, self.apply = stage, block, apply

    def __call__(self, module: nn.Module, args: Sequence[Any], output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f'{self.stage} ({type(module).__name__}) returned a {type(output).__name__} and '
                'not one tensor: StageBlockBackbone cannot put a block after it'
            )
        changed = self.apply(self.block, output, args)
        if changed.shape != output.shape:
            raise ValueError(
                f'the block after {self.stage} ({type(self.block).__name__}) made '
                f'{tuple(changed.shape)} of {tuple(output.shape)}; a block keeps the shape'
            )
        return changed


def _key(stage: str) -> str:
    return stage.replace('.', '_')  # a module's name holds no dot


def _choose(outputs: list[StageOutput], stages: Optional[Sequence[str]]) -> list[StageOutput]:
    by_name = {output.stage: output for output in outputs}
    if stages is None:
        return outputs
    known = ', '.join(map(repr, by_name))
    if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
        raise ValueError(f'stages must be a list of {known}, got {stages!r}')
    wrong = [s for s in stages if s not in by_name]
    if wrong or len(set(stages)) < len(stages):
        fault = f'there is no {wrong[0]!r}' if wrong else 'one is there twice'
        raise ValueError(f'stages must be a list of {known}, got {list(stages)!r}: {fault}')
    return [by_name[stage] for stage in stages]


def _refuse_other_stages(chosen: list[StageOutput], division: Division) -> None:
    """A block of a stage that a StageMap does not know would freeze with its neighbours."""
    names = [name for name, _ in division]
    unknown = [output.stage for output in chosen if output.stage not in names]
    if unknown:
        raise ValueError(
            f'a rule for stage outputs names {unknown[0]!r}, but the stages of the backbone are '
            f'{", ".join(names)}; see stage_rule'
        )
