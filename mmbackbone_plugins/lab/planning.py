"""What a config will train and for how long, read off it before any training; for the tools."""

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

from ..cost import RunPlan, plan_runs
from ..freezing import FreezePlan, Freezer, FreezingSchedule, build_schedule
from ..hooks.checks import check_count, check_hooks
from ..stages import StageMap
from ..utils.names import type_name
from . import inputs, launch


@dataclass
class RunPreview:
    """A config's run, as it would be.

    Attributes:
        config: Path of the config file.
        cfg: The config.
        model: Its detector, built, without pre-trained weights.
        freezer: Freezer over the target of the config's freezing hook (the backbone by default).
        freeze_plan: The config's schedule over its stages; full training where it has none.
        has_hook: Whether the config has a freezing hook.
        unit: ``'epoch'`` or ``'iteration'``.
        length: Length of the run in units.
        images: Images in a unit; None where the training set is not here.
        shape: Height and width of the input in pixels; None if it was not asked for.
    """

    config: str
    cfg: Config
    model: nn.Module
    freezer: Freezer
    freeze_plan: FreezePlan
    has_hook: bool
    unit: str
    length: int
    images: Optional[int]
    shape: Optional[tuple[int, int]]

    @property
    def target(self) -> Any:
        return _hook(self.cfg).get('target', 'backbone')

    @property
    def schedule(self) -> FreezingSchedule:
        return self.freeze_plan.schedule

    def with_rho(self, rho: Any) -> FreezePlan:
        """The same with a step schedule, in the unit of this run."""
        schedule = dict(type='StepFreezing', rho=rho, by_epoch=self.unit == 'epoch')
        return replace(self.freeze_plan, schedule=build_schedule(schedule))

    def plan_costs(
        self,
        plans: Optional[list[FreezePlan]] = None,
        batch: int = 1,
        device: str = 'cpu',
        report: Any = None,
    ) -> list[RunPlan]:
        """Counts the steps of schedules, by default of the config's own, on a drawn batch.

        Args:
            plans: The schedules over the stages.
            batch: Images in the batch; what is reported is for one.
            device: Where to count.
            report: See :func:`~mmbackbone_plugins.cost.plan_runs`.

        Returns:
            A plan per schedule.

        Raises:
            ValueError: If a step of this size does not fit into memory, or cannot be made on this
                device.
        """
        self.model.to(device)
        data = inputs.draw_batch(self.cfg, self.model, self.shape, batch)
        try:
            found = plan_runs(
                self.model, data, self.freezer, plans or [self.freeze_plan], self.length, report
            )
        except RuntimeError as error:
            text = str(error).splitlines()[0]
            hint = ''
            if 'memory' in text:
                hint = '; give a smaller --shape: FLOPs go with the pixels'
            elif 'device cpu' in text:
                hint = '; give --device cuda on a machine that has a GPU'
            raise ValueError(f'a step on {device} failed: {text}{hint}') from error
        # A schedule that counts nothing has no unit of its own.
        return [replace(plan, unit=self.unit) for plan in found]


def preview_run(
    config: str,
    cfg_options: Optional[dict[str, Any]] = None,
    shape: Optional[tuple[int, int]] = None,
    images: Optional[int] = None,
    ranks: int = 1,
    need_shape: bool = True,
) -> RunPreview:
    """Reads off a config what its run will train.

    Args:
        config: The config file.
        cfg_options: Values that override the file's, by dotted key.
        shape: Height and width in pixels; read off the training pipeline by default.
        images: Images in an epoch; the length of the training set if its files are here.
        ranks: Processes (GPUs) of the run; matters to runs that count iterations.
        need_shape: Whether FLOPs are to be counted.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the config has no training loop, or an iteration loop for a schedule by
            epoch, or an input size is needed that cannot be inferred.
    """
    cfg = launch.load_config(config, cfg_options)
    check_hooks(cfg)
    hook = _hook(cfg)
    schedule = build_schedule(hook.get('schedule', dict(type='FullTraining')))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    unit = _unit(cfg, schedule)
    if unit == 'iteration':
        per_step = (cfg.train_dataloader.get('batch_size', None) or 1) * ranks
        length = _iterations(cfg, schedule, images, per_step)
        images = per_step
    else:
        images = images or _images_here(cfg)
        length = cfg.train_cfg['max_epochs']
    if need_shape:
        shape = shape or inputs.input_shape(cfg)
    model = launch.build_model(cfg)
    model.train()  # backbones that freeze their own stages in train() do so now
    stage_map = StageMap.of(model, hook.get('target', 'backbone'), hook.get('vit_stages', None))
    freezer = Freezer(model, stage_map, hook.get('frozen_mode', 'eval'))
    plan = FreezePlan(schedule, stage_map, bool(hook.get('freeze_blocks', False)))
    return RunPreview(config, cfg, model, freezer, plan, bool(hook), unit, length, images, shape)


class CountProgress:
    """Says on stderr how many steps are counted and how long the rest may take.

    Args:
        label: What comes first in the line.
    """

    def __init__(self, label: str = '') -> None:
        self._label = f'{label}: ' if label else ''
        self._start = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        spent = time.perf_counter() - self._start
        left = f', about {spent / done * (total - done):.0f} s left' if done < total else ''
        text = f'{self._label}counting FLOPs: step {done} of {total}, {spent:.0f} s{left}'
        if sys.stderr.isatty():
            print(f'\r{text:<79}', end='' if done < total else '\n', file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _hook(cfg: Config) -> dict[str, Any]:
    """Arguments of the config's freezing hook; empty if it has none."""
    hooks = [
        *(cfg.get('custom_hooks', None) or []),
        *(cfg.get('default_hooks', None) or {}).values(),
    ]
    for hook in hooks:
        if isinstance(hook, Mapping) and type_name(hook) == 'FreezingSchedulerHook':
            return {k: v for k, v in hook.items() if k not in ('type', 'priority')}
    return {}


def _unit(cfg: Config, schedule: FreezingSchedule) -> str:
    train_cfg = cfg.get('train_cfg', None) or {}
    if cfg.get('train_dataloader', None) is None or not {'max_epochs', 'max_iters'} & set(
        k for k, v in train_cfg.items() if v is not None
    ):
        raise ValueError(
            'the config has no training loop: it needs train_dataloader, and max_epochs or '
            f'max_iters in train_cfg, which is {dict(train_cfg) or None}'
        )
    by_epoch = train_cfg.get('max_epochs') is not None
    name = 'max_epochs' if by_epoch else 'max_iters'
    check_count(f'train_cfg.{name}', train_cfg[name])
    if schedule.constant:
        return 'epoch' if by_epoch else 'iteration'
    if schedule.by_epoch and not by_epoch:
        raise ValueError(
            f'train_cfg has no max_epochs, which {schedule!r} needs, for it counts epochs; add '
            f'by_epoch=False to the schedule. train_cfg is {dict(train_cfg)}'
        )
    return schedule.unit


def _iterations(
    cfg: Config, schedule: FreezingSchedule, images: Optional[int], per_step: int
) -> int:
    """Iterations of the run; of a loop of epochs as many as the images make."""
    if cfg.train_cfg.get('max_iters') is not None:
        return cfg.train_cfg['max_iters']
    images = images or _images_here(cfg)
    if images is None:
        raise ValueError(
            f'{schedule!r} counts iterations, and how many an epoch of this config has is not '
            'known, for its training set is not here; give the number of its images with --images'
        )
    return cfg.train_cfg['max_epochs'] * math.ceil(images / per_step)


def _images_here(cfg: Config) -> Optional[int]:
    """Length of the training set, if its files are here."""
    try:
        launch.check_data(cfg, ('train_dataloader',))
        return len(DATASETS.build(cfg.train_dataloader.dataset))
    except (FileNotFoundError, ValueError):
        return None
