"""Builds small real detectors and runs for the tests.

Data are drawn in memory: the tests in here are about training, not about files. Everything is a
function of its arguments, so that two runs with equal arguments are equal bit for bit.
"""

import json
import logging
import multiprocessing
import os
import socket
import sys
import tempfile
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
)
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import Dataset
from yapf.yapflib import yapf_api

from mmbackbone_plugins import compat
from mmbackbone_plugins.lab.launch import register_modules

CLASSES = ('plane', 'ship')
# mmengine lays out the config's text at every checkpoint, which takes longer than an epoch in here.
yapf_api.FormatCode = lambda text, **options: (text, False)
# Whether a rebuilt wrapper can have the communication hooks of the one before: not in torch 2.0.
KEEPS_COMM_HOOKS = compat.flop_counter() is not None


@DATASETS.register_module(force=True)
class DrawnScenes(Dataset):
    """Noise with bright boxes; horizontal for mmdet's detectors, rotated for mmrotate's."""

    metainfo = dict(classes=CLASSES)

    def __init__(self, length: int = 8, size: int = 64, rotated: bool = False) -> None:
        self.length, self.size, self.rotated = length, size, rotated

    def __len__(self) -> int:
        return self.length

    def get_data_info(self, index: int) -> dict[str, int]:
        return dict(width=self.size, height=self.size)  # for mmdet's AspectRatioBatchSampler

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmdet.structures import DetDataSample

        g = torch.Generator().manual_seed(index)
        image = torch.randint(0, 90, (3, self.size, self.size), generator=g, dtype=torch.uint8)
        corner = torch.randint(4, self.size // 2, (2, 2), generator=g).float()
        extent = torch.randint(12, self.size // 2 - 4, (2, 2), generator=g).float()
        labels = torch.randint(0, 2, (2,), generator=g)
        boxes = torch.cat([corner, corner + extent], dim=1)
        for (x1, y1, x2, y2), label in zip(boxes.int().tolist(), labels.tolist()):
            image[label, y1:y2, x1:x2] += 120
        if self.rotated:
            from mmrotate.structures import RotatedBoxes

            angle = torch.rand(2, 1, generator=g) - 0.5
            boxes = RotatedBoxes(torch.cat([corner + extent / 2, extent, angle], dim=1))
        sample = DetDataSample(
            metainfo=dict(
                img_id=index,
                img_shape=(self.size, self.size),
                ori_shape=(self.size, self.size),
                pad_shape=(self.size, self.size),
                batch_input_shape=(self.size, self.size),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
        return dict(inputs=image, data_samples=sample)


@TRANSFORMS.register_module(force=True)
class DrawScene:
    """Draws a scene of :class:`DrawnScenes`, as the first transform of a pipeline of mmdet's."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmdet.structures.bbox import HorizontalBoxes

        sample = DrawnScenes(size=64)[results['img_id']]
        found = sample['data_samples'].gt_instances
        image = sample['inputs'].permute(1, 2, 0).numpy().copy()
        ignored = torch.zeros(len(found), dtype=torch.bool).numpy()
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        results.update(gt_bboxes=HorizontalBoxes(found.bboxes), gt_ignore_flags=ignored)
        return dict(results, gt_bboxes_labels=found.labels.numpy())


@DATASETS.register_module(force=True)
class DrawnData(BaseDataset):
    """Drawn scenes as a data set of mmengine with a pipeline; the first transform draws."""

    METAINFO = dict(classes=CLASSES)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(img_id=i, width=64, height=64) for i in range(6)]


@HOOKS.register_module(force=True)
class Recorder(Hook):
    """Keeps what the tests look at; runs after the hooks under test."""

    priority = 'LOWEST'

    def __init__(self, kill_at: Optional[int] = None) -> None:
        self.kill_at = kill_at
        self.states: list[dict[str, torch.Tensor]] = []  # at the start, then after each epoch
        self.per_iter: list[dict[str, torch.Tensor]] = []
        self.trains: list[frozenset] = []  # per iteration, names of parameters
        self.in_eval: list[frozenset] = []  # per iteration, names of modules
        self.losses: list[float] = []

    @staticmethod
    def state(runner) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in model_of(runner).state_dict().items()}

    def before_train(self, runner) -> None:
        self.states.append(self.state(runner))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.kill_at is not None and runner.iter == self.kill_at:
            os.kill(os.getpid(), 9)
        model = model_of(runner)
        self.trains.append(frozenset(n for n, p in model.named_parameters() if p.requires_grad))
        self.in_eval.append(frozenset(n for n, m in model.named_modules() if not m.training))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.per_iter.append(self.state(runner))
        self.losses.append(outputs['loss'].item())

    def after_train_epoch(self, runner) -> None:
        self.states.append(self.state(runner))


@HOOKS.register_module(force=True)
class Reseed(Hook):
    """Random numbers become a function of the epoch; mmengine saves no state of them."""

    def before_train_epoch(self, runner) -> None:
        torch.manual_seed(runner.epoch)


@HOOKS.register_module(force=True)
class CommunicatedBytes(Hook):
    """Counts what the distributed wrapper reduces, per iteration, through a hook of torch."""

    priority = 'LOW'  # after the wrapper is built anew at the start; later ones must keep it

    def __init__(self) -> None:
        self.per_iter: list[int] = []

    def before_train(self, runner) -> None:
        runner.model.register_comm_hook(self, _count_and_reduce)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.per_iter.append(0)


def _count_and_reduce(counter: CommunicatedBytes, bucket):
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    counter.per_iter[-1] += nbytes(bucket.buffer())
    return allreduce_hook(None, bucket)


@OPTIM_WRAPPERS.register_module(force=True)
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's AMP wrapper, which refuses a machine without a GPU, with torch's CPU scaler."""

    def __init__(self, loss_scale: Any = 1024.0, **options: Any) -> None:
        if not hasattr(torch.amp, 'GradScaler'):
            pytest.skip(f'torch {torch.__version__} has no gradient scaler for the CPU')
        OptimWrapper.__init__(self, **options)
        self._scale_update_param = None
        scale = loss_scale if isinstance(loss_scale, dict) else dict(init_scale=loss_scale)
        self.loss_scaler = torch.amp.GradScaler('cpu', **scale)
        self.cast_dtype = torch.bfloat16


@METRICS.register_module(force=True)
class CountMetric(BaseMetric):
    """Counts predictions: the cheapest validation there is."""

    def process(self, data_batch, data_samples) -> None:
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results) -> dict[str, float]:
        return dict(count=float(len(results)))


@MODELS.register_module(force=True)
class ThreeLayers(BaseModel):
    """The smallest model with a backbone: for what hooks do, whatever the detector."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 4))
        self.head = torch.nn.Linear(4, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        colours = torch.stack(inputs).float().mean((2, 3)) / 255
        return dict(loss=self.head(self.backbone(colours)).square().mean())


@MODELS.register_module(force=True)
class TwoOptimizers(ThreeLayers):
    """Steps by itself, with one optimizer for the backbone and one for the rest, as GANs do."""

    def train_step(self, data, optim_wrapper):
        loss = self(**self.data_preprocessor(data, True))['loss']
        loss.backward()
        for name in ('head', 'backbone'):
            optim_wrapper[name].step()
            optim_wrapper[name].zero_grad()
        return dict(loss=loss.detach())


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class OneEach:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None) -> None:
        pass

    def __call__(self, model):
        def wrapper(part):
            return OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.01, momentum=0.9))

        return OptimWrapperDict(backbone=wrapper(model.backbone), head=wrapper(model.head))


THREE = dict(type='ThreeLayers')
TWO_OPTIMIZERS = dict(
    model=dict(type='TwoOptimizers'),
    optim_wrapper=dict(constructor='OneEach', optimizer=dict(type='SGD', lr=0.1)),
)


def model_of(runner) -> torch.nn.Module:
    return getattr(runner.model, 'module', runner.model)


def resnet(**options: Any) -> dict[str, Any]:
    """A ResNet-18 of mmdet with a quarter of the channels."""
    norm = dict(type='BN', requires_grad=True)
    return dict(
        type='mmdet.ResNet', depth=18, base_channels=16, norm_cfg=norm, norm_eval=False, **options
    )


def swin(**options: Any) -> dict[str, Any]:
    return dict(
        type='mmdet.SwinTransformer',
        embed_dims=16,
        depths=(1, 1, 2, 1),
        num_heads=(1, 1, 2, 2),
        window_size=4,
        drop_path_rate=0.5,
        **options,
    )


def convnext(**options: Any) -> dict[str, Any]:
    arch = dict(depths=[1, 1, 2, 1], channels=[16, 32, 64, 128])
    return dict(
        type='mmpretrain.ConvNeXt',
        arch=arch,
        out_indices=[0, 1, 2, 3],
        drop_path_rate=0.5,
        gap_before_final_norm=False,
        **options,
    )


FAMILIES = {  # backbones with a stem and four stages
    'resnet18': resnet(),
    'resnext': dict(type='mmdet.ResNeXt', depth=50, groups=4, base_width=4, base_channels=16),
    'res2net': dict(type='mmdet.Res2Net', depth=50, scales=4, base_width=6, base_channels=16),
    'resnetv1d': dict(type='mmdet.ResNetV1d', depth=50, base_channels=16),
    'regnet': dict(type='mmdet.RegNet', arch='regnetx_400mf'),
    'swin': swin(),
    'swin-abs-pos': swin(use_abs_pos_embed=True, pretrain_img_size=64),
    'convnext': convnext(),
}


def with_blocks(backbone: dict[str, Any], block: Any = 'ResidualAdapter', **options: Any) -> dict:
    """A backbone with a block after each stage; options of the block, and ``stages``."""
    outer = {k: options.pop(k) for k in ('stages', 'per_stage') if k in options}
    return dict(
        type='StageBlockBackbone', backbone=backbone, block=dict(type=block, **options), **outer
    )


CHANNELS = [16, 32, 64, 128]


def detector(kind: str = 'retinanet', backbone: Optional[dict] = None) -> dict[str, Any]:
    """A detector of the zoo's kind at a tenth of its size.

    Args:
        kind: ``'retinanet'``, ``'faster-rcnn'``, ``'rotated-retinanet'`` or ``'oriented-rcnn'``.
        backbone: Config of a backbone with outputs of 16, 32, 64 and 128 channels.
    """
    register_modules()
    package, path = _BASES[kind].split('::')
    home = Path(import_module(package).__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(home / path)).model.to_dict()
    if kind == 'rotated-retinanet':
        cfg['bbox_head'].update(num_classes=2)
    cfg['backbone'] = backbone or resnet()
    inner = cfg['backbone'].get('backbone', cfg['backbone'])  # of a StageBlockBackbone
    if inner['type'].startswith('mmpretrain'):
        import mmpretrain.models  # noqa: F401
    cfg['neck'].update(in_channels=CHANNELS, out_channels=16)
    if 'ResNet' not in inner['type']:
        cfg['neck'].update(start_level=0)  # each output has a norm of its own, which must be used
    for name in ('bbox_head', 'rpn_head'):
        if name in cfg:
            cfg[name].update(in_channels=16, feat_channels=16)
    if 'bbox_head' in cfg:
        cfg['bbox_head'].update(num_classes=2, stacked_convs=1)
    if 'roi_head' in cfg:
        roi = cfg['roi_head']
        roi['bbox_roi_extractor'].update(out_channels=16)
        roi['bbox_head'].update(in_channels=16, fc_out_channels=32, num_classes=2)
    return cfg


def semi_supervised() -> dict[str, Any]:
    """A student and a teacher of mmdet's; the student's backbone is ``student.backbone``."""
    inner = detector()
    branches = dict(
        type='mmdet.MultiBranchDataPreprocessor', data_preprocessor=inner['data_preprocessor']
    )
    return dict(
        type='mmdet.SemiBaseDetector',
        detector=inner,
        data_preprocessor=branches,
        semi_train_cfg=dict(freeze_teacher=True, sup_weight=0.5, cls_pseudo_thr=0.0),
        semi_test_cfg=dict(predict_on='teacher'),
    )


def is_rotated(model: dict[str, Any]) -> bool:
    """Whether a detector is one of mmrotate's."""
    return any(word in str(model) for word in ('mmrotate', 'RBox', 'Rotated', 'Oriented'))


def build(model: dict[str, Any]) -> torch.nn.Module:
    """Builds a model outside a runner."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmrotate' if is_rotated(model) else 'mmdet')
    return MODELS.build(Config(dict(model=model)).model)  # two-stage ones read by attribute


_BASES = {
    'retinanet': 'mmdet::_base_/models/retinanet_r50_fpn.py',
    'faster-rcnn': 'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'rotated-retinanet': (
        'mmrotate::rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py'
    ),
    'oriented-rcnn': 'mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py',
}

SGD = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05)


def dbf(rho: Any = 2, **options: Any) -> dict[str, Any]:
    """Config of the hook under test, with a step schedule."""
    by_epoch = options.pop('by_epoch', True)
    schedule = dict(type='StepFreezing', rho=rho, by_epoch=by_epoch)
    return dict(type='FreezingSchedulerHook', schedule=schedule, **options)


def runner(
    work_dir: Any,
    hooks: Optional[list[dict]] = None,
    model: Optional[dict] = None,
    epochs: int = 4,
    iters: Optional[int] = None,
    optimizer: Optional[dict] = None,
    wrapper: Optional[dict] = None,
    length: int = 8,
    batch: int = 2,
    size: int = 64,
    seed: int = 0,
    shuffle: bool = False,
    validate: bool = False,
    kill_at: Optional[int] = None,
    **options: Any,
) -> Runner:
    """An mmengine runner over drawn scenes; ``iters`` makes the loop iteration-based."""
    model = model or detector()
    rotated = is_rotated(model)
    loop = (
        dict(type='IterBasedTrainLoop', max_iters=iters)
        if iters
        else dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    )
    sampler = (
        dict(type='InfiniteSampler', shuffle=shuffle)
        if iters
        else dict(type='DefaultSampler', shuffle=shuffle)
    )
    optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer or SGD)
    optim_wrapper.update(wrapper or {})
    keep = dict(type='CheckpointHook', interval=1, by_epoch=iters is None)
    settings: dict[str, Any] = dict(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            sampler=sampler,
            collate_fn=dict(type='pseudo_collate'),
            dataset=dict(type='DrawnScenes', length=length, size=size, rotated=rotated),
        ),
        train_cfg=loop,
        optim_wrapper=optim_wrapper,
        default_hooks=dict(checkpoint=keep, logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[*(hooks or []), dict(type='Recorder', kill_at=kill_at)],
        default_scope='mmrotate' if rotated else 'mmdet',
        randomness=dict(seed=seed),
        log_level='WARNING',
        experiment_name=f'test_{os.getpid()}_{next(_COUNTER)}',
    )
    if validate:
        loader = dict(settings['train_dataloader'])
        loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
        settings.update(
            val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type='CountMetric')
        )
    settings.update(options)
    cfg = Config(settings)
    return Runner.from_cfg(cfg)


def _count():
    number = 0
    while True:
        yield number
        number += 1


_COUNTER = _count()


def recorder(of: Runner) -> Recorder:
    return next(h for h in of.hooks if isinstance(h, Recorder))


def train(*args: Any, **options: Any) -> Recorder:
    """Builds a runner, trains and returns what was recorded."""
    built = runner(*args, **options)
    built.train()
    record = recorder(built)
    # NaN differs from itself, so a diverged run would fail, or pass, for the wrong reason.
    assert all(torch.isfinite(v.float()).all() for v in record.states[-1].values()), 'diverged'
    return record


def config_file(folder: Path, base_batch_size: int = 8) -> Path:
    """Writes a config of a tiny run of two epochs for the tools."""
    cfg = runner(folder / 'unused', hooks=[dbf(2)], epochs=2, validate=True).cfg
    cfg.pop('work_dir')
    cfg.custom_imports = dict(imports=['mmbackbone_plugins', 'rig'], allow_failed_imports=False)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_cfg, cfg.test_evaluator = dict(), cfg.val_evaluator
    cfg.auto_scale_lr = dict(base_batch_size=base_batch_size, enable=False)
    cfg.dump(folder / 'tiny_dbf.py')
    return folder / 'tiny_dbf.py'


def load_tool(name: str) -> Any:
    """A script below ``tools/``, without its suffix, as a module."""
    path = Path(__file__).parents[1] / 'tools' / f'{name}.py'
    spec = spec_from_file_location(f'{path.stem}_tool', path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call_tool(name: str, *arguments: Any) -> Any:
    """Exit status of a tool, which runs in this process: importing the stack takes longer."""
    module = load_tool(name)
    argv = [module.__file__, *map(str, arguments)]
    with mock.patch.object(sys, 'argv', argv), mock.patch.dict(os.environ):
        try:
            return module.main()
        except SystemExit as end:
            return end.code


def listen_to(built: Runner) -> list[str]:
    """What a runner's logger says from now on, information included."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    built.logger.addHandler(Keep())
    built.logger.setLevel(logging.INFO)
    return messages


def nbytes(tensor: torch.Tensor) -> int:
    """``tensor.nbytes``, which torch 2.0 has not."""
    return tensor.numel() * tensor.element_size()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], prefix: str = '') -> list[str]:
    """Names under a prefix whose tensors are not equal bit for bit."""
    assert a.keys() == b.keys()
    return [k for k in a if k.startswith(prefix) and not torch.equal(a[k], b[k])]


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


# Its children begin with what worker.py imports, which takes longer than a run, and with no more.
_SERVER = multiprocessing.get_context('forkserver')
_SERVER.set_forkserver_preload(['worker'])


def run(ranks: int = 1, returncode: int = 0, **options: Any) -> list[Any]:
    """Trains in processes of their own, one a rank, and returns what each recorded.

    Args:
        ranks: Number of processes.
        returncode: What all must end with; of another than 0 what they printed is returned.
        options: Those of :func:`runner`, and ``ddp`` for the distributed wrapper.
    """
    asked = json.dumps(options, default=str)
    if 'CpuAmpOptimWrapper' in asked and not hasattr(torch.amp, 'GradScaler'):
        pytest.skip(f'torch {torch.__version__} has no gradient scaler for the CPU')
    if 'CommunicatedBytes' in asked and not KEEPS_COMM_HOOKS:
        pytest.skip(f'torch {torch.__version__} hands no communication hook on')
    import worker

    path = Path(__file__).parent
    paths = dict(PYTHONPATH=f'{path.parent}{os.pathsep}{path}', OMP_NUM_THREADS='1')
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(rank) for rank in range(ranks)]
        started = []
        for rank in range(ranks):
            env = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks)
            env.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
            arguments = (asked, env if ranks > 1 else {}, outputs[rank])
            process = _SERVER.Process(target=worker.main, args=arguments)
            with mock.patch.dict(os.environ, paths):  # of the server, when this starts it
                process.start()
            started.append(process)
        for process in started:
            process.join(500)
        for process, output in zip(started, outputs):
            if process.exitcode is None:
                process.kill()
            assert process.exitcode == returncode, output.read_text()[-4000:]
        if returncode:
            return [output.read_text() for output in outputs]
    folder = Path(options['work_dir'])
    return [torch.load(folder / f'record_{r}.pt', weights_only=False) for r in range(ranks)]
