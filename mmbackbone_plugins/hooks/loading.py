"""What of a hook's target was never loaded from a file; one answer for all hooks of a run."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Optional
from weakref import WeakKeyDictionary

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop
from torch import nn

from ..stages import StageMap
from ..utils import checkpoints
from ..utils.loading import LoadRecord, WeightFile, weight_files
from ..utils.wrappers import unwrap
from .checkpoint_keys import UNLOADED_KEY

TRAIN, FREEZE, ERROR = UNLOADED = ('train', 'freeze', 'error')


class LoadingHook(Hook):
    """Base of hooks that freeze or hold a target, or compare it with what it started from.

    Which parameters no ``Pretrained`` and no ``load_from`` has filled is found while a fresh run
    loads its files; a resumed run takes it from the checkpoint. Of a run that was begun without
    such a hook nothing is known, and everything counts as loaded.
    """

    kept: tuple[str, ...] = ()  # keys of a checkpoint that a resumed run needs in before_train
    _checkpoint: Optional[dict[str, Any]] = None  # of the run that is resumed

    def before_run(self, runner) -> None:
        """Watches from before the weights are initialised."""
        if isinstance(getattr(runner, '_train_loop', None), BaseLoop):  # no test by itself
            _of(runner).watch(unwrap(runner.model))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Takes up what was found when a resumed run was begun; load_from starts a fresh one."""
        if runner._resume:
            _of(runner).restore(checkpoint.get(UNLOADED_KEY))
            self._checkpoint = {key: checkpoint[key] for key in self.kept if key in checkpoint}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends it along."""
        found = _of(runner).find()
        if found is not None:
            checkpoint[UNLOADED_KEY] = found

    def unloaded_of(
        self, runner, stage_map: StageMap, setting: str, then: str = ''
    ) -> tuple[frozenset[str], Optional[frozenset[str]]]:
        """Finds the parameters of the target that no file has filled, added blocks left out.

        Of setting ``'train'`` one warning a run names the first few, and what ``then`` becomes of
        them; of ``'freeze'`` there is none, unless nothing at all was loaded; ``'error'`` is a
        ValueError. Returns names of those that are set apart, none of a target of which nothing was
        loaded; and of all, None if it is not known.
        """
        found = _of(runner)
        missing = found.find()
        if missing is None:
            return frozenset(), None
        model, everything = unwrap(runner.model), frozenset[str]()
        for target, inside, lost in missing_in(model, stage_map, missing):
            everything |= lost.keys()
            nothing = len(lost) == len(inside)
            files = [f for f in _files(runner) if f.concerns(target)]
            if nothing:
                text = _nothing(target, inside, lost, files)
            else:
                text = _some(model, target, inside, lost, files)
            if setting == ERROR:
                raise ValueError(f'{type(self).__name__}: unloaded={ERROR!r}: {text}')
            if (nothing or setting == TRAIN) and target not in found.said:
                found.said.add(target)
                text += '' if nothing else then
                print_log(f'{type(self).__name__}: {text}', 'current', logging.WARNING)
        return set_apart(model, stage_map, missing), everything


def missing_in(
    model: nn.Module, stage_map: StageMap, missing: Mapping[str, str]
) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Yields targets that lack something, their parameters, and those missing; no added blocks."""
    added = tuple(f'{n}.' for n, m in model.named_modules() if getattr(m, 'is_added_block', False))
    names = [n for s in stage_map if not s.is_block for n in s.parameters]
    for target in stage_map.targets:
        start = f'{target}.'.lstrip('.')
        inside = [n for n in names if n.startswith(start) and not n.startswith(added)]
        lost = {n: missing[n] for n in inside if n in missing}
        if lost:
            yield target, inside, lost


def set_apart(model: nn.Module, stage_map: StageMap, missing: Mapping[str, str]) -> frozenset[str]:
    """The parameters that schedules and penalties leave; none of a target that lacks all."""
    found = missing_in(model, stage_map, missing)
    return frozenset(n for _, inside, lost in found if len(lost) < len(inside) for n in lost)


class _Loading:
    """What is known of a run."""

    def __init__(self) -> None:
        self._record: Optional[LoadRecord] = None
        self._found: Optional[dict[str, str]] = None
        self.said: set[str] = set()

    def watch(self, model: nn.Module) -> None:
        if self._record is None and self._found is None:
            self._record = LoadRecord(model)

    def restore(self, found: Optional[dict[str, str]]) -> None:
        if self._record is not None:
            self._record.close()
        self._record, self._found = None, found

    def find(self) -> Optional[dict[str, str]]:
        """Reasons by name of the parameters that no file has filled; None if it is not known."""
        if self._record is not None:
            record, self._record = self._record, None
            self._found = record.close()
        return self._found


_RUNS: 'WeakKeyDictionary[Any, _Loading]' = WeakKeyDictionary()


def _of(runner) -> _Loading:
    return _RUNS.setdefault(runner, _Loading())


def _files(runner) -> list[WeightFile]:
    found = list(weight_files(unwrap(runner.model)))
    start = None if runner._resume else runner._load_from
    return [*found, *([WeightFile('', start)] if start else [])]


def _some(
    model: nn.Module,
    target: str,
    inside: list[str],
    lost: Mapping[str, str],
    files: list[WeightFile],
) -> str:
    own = {n: p for n, p in model.named_parameters() if n in set(inside)}
    share = sum(own[n].numel() for n in lost) / sum(p.numel() for p in own.values())
    first = [f'{n} ({why})' if why else n for n, why in list(lost.items())[:3]]
    first += [f'{len(lost) - 3} more'] if len(lost) > 3 else []
    text = (
        f'{len(lost)} of {len(own)} parameters of {target!r} ({share:.1%} of its values) were '
        f'filled by none of {", ".join(map(str, files)) or "the files"}, and start as new: '
        f'{", ".join(first)}'
    )
    kept = [n for n in lost if not own[n].requires_grad]
    if kept:
        text += f'; {len(kept)} of them never train: the model keeps them frozen by itself'
    return text


def _nothing(
    target: str, inside: list[str], lost: Mapping[str, str], files: list[WeightFile]
) -> str:
    text = f'nothing of {target!r} was loaded from a file, so its weights are random'
    if not files:
        return f'{text}: neither an init_cfg of type Pretrained nor load_from names one for it'
    return f'{text}: {"; ".join(_misfit(target, inside, lost, file) for file in files)}'


def _misfit(target: str, inside: list[str], lost: Mapping[str, str], file: WeightFile) -> str:
    """Why a file fills nothing of a target: it is read once more."""
    try:
        # Where mmengine looks, and no further.
        state = checkpoints.weights_of(checkpoints.read(file.path), str(file), checkpoints.OWN)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    reasons = [f'{name}: {why}' for name, why in lost.items() if why]
    if reasons:
        return f'{file} is of another architecture ({reasons[0]})'
    root = file.module or target
    start = f'{root}.'.lstrip('.')
    wanted = [n.removeprefix(start) for n in inside if n.startswith(start)]
    prefix = checkpoints.fitting_prefix(state, wanted)
    if prefix is None:
        return f'{file} has none of its parameters; it has {", ".join(list(state)[:3])}, ...'
    here = f'init_cfg=dict(type="Pretrained", checkpoint={file.path!r}'
    here += f', prefix={prefix!r})' if prefix else ')'
    return f'{file} has its parameters under another prefix: {root}.{here} would fit'
