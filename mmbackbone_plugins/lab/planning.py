"""What a config will train and for how long, read off it before any training; for the tools."""

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner.checkpoint import get_torchvision_models
from torch import nn

from ..cost import RunPlan, plan_runs
from ..freezing import FreezePlan, Freezer, FreezingSchedule, build_schedule
from ..hooks.checks import check_count, check_hooks, check_patterns
from ..hooks.loading import set_apart
from ..stages import StageMap
from ..utils import checkpoints
from ..utils.loading import LoadRecord
from ..utils.names import type_name
from . import inputs, launch
from .cached_plan import cache_of
from .weights import initial_files, load


@dataclass
class RunPreview:
    """A config's run, as it would be."""

    config: str
    cfg: Config
    model: nn.Module  # its detector, built, without pre-trained weights
    freezer: Freezer  # over the target of the config's freezing hook (the backbone by default)
    freeze_plan: FreezePlan  # of the config's schedule; full training where it has none
    unit: str  # 'epoch' or 'iteration'
    length: int  # length of the run in units
    images: Optional[int]  # images in a unit; None where the training set is not here
    shape: Optional[tuple[int, int]]  # height and width in pixels; None if it was not asked for
    # A file with pre-trained weights that is not here, so that it is not known which parameters
    # it leaves to train in every phase; None if there is no such file.
    unknown: Optional[str] = None

    @property
    def hook(self) -> dict[str, Any]:
        """Arguments of the config's freezing hook; empty if it has none."""
        return _hook(self.cfg)

    @property
    def schedule(self) -> FreezingSchedule:
        return self.freeze_plan.schedule

    def with_rho(self, rho: Any) -> FreezePlan:
        """The same with a step schedule, in the unit of this run."""
        schedule = dict(type='StepFreezing', rho=rho, by_epoch=self.unit == 'epoch')
        resolved = build_schedule(schedule).resolved(self.length)
        return replace(self.freeze_plan, schedule=resolved)

    def plan_costs(
        self,
        plans: Optional[list[FreezePlan]] = None,
        batch: int = 1,
        device: str = 'cpu',
        report: Any = None,
    ) -> list[RunPlan]:
        """Counts the steps of schedules, by default of the config's own, on a drawn batch.

        What comes back is for one image of the batch; ``report`` is that of ``plan_runs``.

        Raises:
            ValueError: If a step does not fit into memory, or cannot be made on this device.
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
        cache = cache_of(self.cfg, self.model, data, self.images) if self.unit == 'epoch' else None
        if cache:
            backbone: Any = self.model.backbone
            found = [cache.apply(plan, self.freezer, backbone) for plan in found]
        # A schedule that counts nothing has no unit of its own.
        return [replace(plan, unit=self.unit) for plan in found]

    def figures(self, plan: RunPlan) -> dict[str, Any]:
        """All numbers of a plan for the images of a unit, or for one where that is not known."""
        phases, images, decides = [], self.images, plan.budget is not None
        for stages in dict.fromkeys(p.trainable for p in plan.phases):
            own = [p for p in plan.phases if p.trainable == stages]
            spans = [f'{p.start}' if p.length == 1 else f'{p.start}-{p.end - 1}' for p in own]
            spans = spans if len(spans) <= 6 else [*spans[:3], '...', spans[-1]]
            flops = plan.flops[stages]
            phases.append(
                dict(
                    stages=sorted(stages),
                    units=None if decides else sum(p.length for p in own),
                    spans='' if decides else ', '.join(spans),
                    trainable_parameters=plan.trainable[stages],
                    forward_flops=flops.forward,
                    backward_flops=flops.backward,
                    flops_per_image=flops.total,
                    flops_per_unit=flops.total * images if images else None,
                )
            )
        plain = ('schedule', 'unit', 'length', 'saving', 'parameters', 'uncounted_ops')
        return dict(
            {name: getattr(plan, name) for name in plain},
            config=self.config,
            shape=self.shape,
            images=images,
            training_flops=plan.training_flops * (images or 1),
            full_training_flops=plan.full_training_flops * (images or 1),
            trainable_parameters=plan.ever_trainable,
            phases=phases,
            spared_flops=plan.spared_flops * (images or 1),
            unknown_weights=self.unknown,
        )


def preview_run(
    config: str,
    cfg_options: Optional[dict[str, Any]] = None,
    shape: Optional[tuple[int, int]] = None,
    images: Optional[int] = None,
    ranks: int = 1,
    need_shape: bool = True,
) -> RunPreview:
    """Reads off a config what its run will train.

    By default the input's shape (height, width) is that of the training pipeline, ``images`` in an
    epoch the length of the training set if its files are here. ``ranks``, the processes of the run,
    matter to runs that count iterations. Without ``need_shape`` no FLOPs can be counted.

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
    plan = FreezePlan(schedule.resolved(length), stage_map, bool(hook.get('freeze_blocks', False)))
    plan = plan.keep(model, check_patterns('keep_trainable', hook.get('keep_trainable', ())))
    releases = hook and hook.get('unloaded', 'train') == 'train'
    missing, unknown = _missing(cfg) if releases else (None, None)
    if missing:
        plan = plan.release(model, set_apart(model, stage_map, missing))
    freezer = Freezer(model, plan.stage_map, hook.get('frozen_mode', 'eval'))
    return RunPreview(config, cfg, model, freezer, plan, unit, length, images, shape, unknown)


def unknown_text(path: str) -> str:
    """What the tools say of :attr:`RunPreview.unknown`."""
    return (
        f'{path} is not here. What of the target it does not fill will train in every phase, and '
        'is not counted so.'
    )


class CountProgress:
    """Says on stderr how many steps are counted and how long the rest may take."""

    def __init__(self, label: str = '') -> None:
        self._label = f'{label}: ' if label else ''
        self._start = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        spent = time.perf_counter() - self._start
        left = f', about {spent / done * (total - done):.0f} s left' if done < total else ''
        text = f'{self._label}counting FLOPs: step {done} of {total}, {spent:.0f} s{left}'
        end = '\n'
        if sys.stderr.isatty():
            text, end = f'\r{text:<79}', '' if done < total else '\n'
        print(text, end=end, file=sys.stderr, flush=True)


def _hook(cfg: Config) -> dict[str, Any]:
    for hook in launch.hooks_of(cfg):
        if type_name(hook) == 'FreezingSchedulerHook':
            return {k: v for k, v in hook.items() if k not in ('type', 'priority')}
    return {}


def _missing(cfg: Config) -> tuple[Optional[dict[str, str]], Optional[str]]:
    """The parameters that no file fills; or the first file that is not here, so that who knows."""
    files = [path for _, path, _, _ in initial_files(cfg.model, 'model')]
    start = None if cfg.get('resume') else cfg.get('load_from')
    files += [start] if start else []
    absent = next((path for path in files if not _is_here(path)), None)
    if absent or not files:
        return None, absent
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('CRITICAL')  # mmengine lists every parameter
    try:
        model = launch.build_model(cfg)  # another one: that which is counted stays as it is
        record = LoadRecord(model)
        if hasattr(model, 'init_weights'):
            model.init_weights()
        if start:
            load(model, checkpoints.weights_of(checkpoints.read(start), start))
        return record.close(), None
    finally:
        logger.setLevel(level)


def _is_here(path: str) -> bool:
    """Whether a file of weights can be read without a network."""
    if path.startswith('torchvision://'):
        path = get_torchvision_models()[path.removeprefix('torchvision://')]
    if not checkpoints.is_address(path):
        return Path(path).expanduser().is_file()
    return (Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(path).path).name).is_file()


def _unit(cfg: Config, schedule: FreezingSchedule) -> str:
    train_cfg = cfg.get('train_cfg', None) or {}
    by_epoch = train_cfg.get('max_epochs') is not None
    name = 'max_epochs' if by_epoch else 'max_iters'
    if cfg.get('train_dataloader', None) is None or train_cfg.get(name) is None:
        raise ValueError(
            'the config has no training loop: it needs train_dataloader, and max_epochs or '
            f'max_iters in train_cfg, which is {dict(train_cfg) or None}'
        )
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
