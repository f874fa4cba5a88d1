"""What a cached epoch of a frozen backbone costs, of an epoch that computes everything.

    python benchmarks/feature_cache.py                 # R50-FPN RetinaNet, light head, 384 px
    python benchmarks/feature_cache.py --config CONFIG # a config's model, data and loader
    python benchmarks/feature_cache.py --backbones     # bytes, computing and reading of some

Ways to train an epoch of a wholly frozen backbone through mmengine's loop, in turn, medians and
ratios:

- frozen:  without the hook;
- views:   with the hook and no store: the same work, on fixed views;
- memory, disk: with features that an earlier epoch has kept.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import alternate, build, draw, make_parser, ratio, report, table
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmbackbone_plugins.freezing.feature_store import FolderStore, Level, MemoryStore, Record
from mmbackbone_plugins.lab import launch

FROZEN = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
WAYS: dict[str, Any] = {
    'frozen': None,
    'views': dict(storage=None),
    'memory': dict(storage='ram'),
    'disk': dict(storage='disk'),
}


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=5, frozen_stages=True)
    parser.add_argument('--config', type=Path, help='a training config; its hooks are left out')
    parser.add_argument('--images', type=int, default=16, help='images of an epoch')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--backbones', action='store_true', help='a table of backbones instead')
    parser.add_argument('--folder', type=Path, help='where files go: another disk')
    return parser.parse_args()


@DATASETS.register_module()
class Drawn(Dataset):
    """Images of noise with six boxes each."""

    def __init__(self, images: int, size: int) -> None:
        self._batch = draw(size, images, 'cpu')
        for sample in self._batch['data_samples']:
            sample.gt_instances.labels %= 15  # classes of the light head

    def __len__(self) -> int:
        return len(self._batch['inputs'])

    def get_data_info(self, index: int) -> dict[str, Any]:
        return dict(number=index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self._batch.items()}


def settings(args: argparse.Namespace) -> Config:
    if args.config:
        cfg = Config.fromfile(args.config)
        cfg.train_dataloader.dataset.indices = args.images
        return cfg
    cfg = build('cpu', frozen_stages=args.frozen_stages, light=True)[0]
    loader = dict(
        batch_size=args.batch,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(type='Drawn', images=args.images, size=args.size),
    )
    optimizer = dict(type='SGD', lr=0.0, momentum=0.9)  # as build() has it, and why
    cfg.update(default_scope='mmdet', train_dataloader=loader)
    amp = dict(type='AmpOptimWrapper', dtype=args.amp) if args.amp else {}
    cfg.update(optim_wrapper=dict(optimizer=optimizer, **amp))
    return cfg


class Epochs:
    """A run whose epochs are trained one at a time."""

    def __init__(self, way: str, args: argparse.Namespace, folder: Path) -> None:
        cfg = settings(args)
        hooks = [FROZEN]
        if WAYS[way]:
            own = dict(views=1, dtype=args.dtype, budget_gb=1000)
            if way == 'disk':
                own.update(folder=str((args.folder or folder) / 'features'))
            hooks.append(dict(type='FeatureCacheHook', **WAYS[way], **own))
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        self.runner = Runner(
            model=cfg.model,
            work_dir=str(folder / way),
            train_dataloader=cfg.train_dataloader,
            train_cfg=dict(by_epoch=True, max_epochs=1000),
            optim_wrapper=cfg.optim_wrapper,
            custom_hooks=hooks,
            default_scope=cfg.get('default_scope', 'mmdet'),
            default_hooks=dict(checkpoint=None),
            experiment_name=way,
            log_level='ERROR',
            cfg=cfg,
        )
        runner = self.runner
        runner.model.to(args.device)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        for moment in ('before_run', 'before_train'):
            runner.call_hook(moment)

    def train(self) -> None:
        self.runner.train_loop.run_epoch()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        runs = {way: Epochs(way, args, Path(folder)) for way in WAYS}
        times = alternate({way: run.train for way, run in runs.items()}, args.rounds, args.device)
        caches = [h for h in runs['memory'].runner.hooks if hasattr(h, 'images_read')]
        used = caches[0].cache.store.used
        images = len(runs['frozen'].runner.train_dataloader.dataset)
        for run in runs.values():
            for moment in ('after_train', 'after_run'):
                run.runner.call_hook(moment)
    return dict(
        images=images,
        bytes_of_a_view=used / images,
        seconds={way: statistics.median(values) for way, values in times.items()},
        of_frozen={way: ratio(times, way, 'frozen') for way in WAYS},
    )


# A backbone as a neck reads it: its config, the outputs that are read, and height and width.
RESNET = dict(type='mmdet.ResNet', depth=50)
SWIN = dict(type='mmdet.SwinTransformer', out_indices=(1, 2, 3))
LITE = dict(type='EfficientNetLite', arch='lite0', out_indices=(3, 4, 5))
BACKBONES: dict[str, tuple[dict[str, Any], int, tuple[int, int]]] = {
    'R50, 512 px': (RESNET, 1, (512, 512)),
    'R50, 800 px': (RESNET, 1, (800, 800)),
    'R50, 1024 px': (RESNET, 1, (1024, 1024)),
    'Swin-T, 1024 px': (SWIN, 0, (1024, 1024)),
    'EfficientNet-Lite0, 320 x 256': (LITE, 0, (256, 320)),
}


def measure_backbones(args: argparse.Namespace) -> dict[str, Any]:
    """Bytes of an image's features, milliseconds to compute them, and to read them as a batch."""
    rows = {}
    for name, (config, start, size) in BACKBONES.items():
        backbone = MODELS.build(config)
        backbone.eval()  # of MMDetection's it returns nothing
        backbone.requires_grad_(False).to(args.device)
        images = torch.randn(args.batch, 3, *size, device=args.device)
        outputs = backbone(images)[start:]
        kind = getattr(torch, args.dtype)
        levels = [[Level(o.shape[1:], o.dtype, m.to('cpu', kind)) for m in o] for o in outputs]
        records = [Record((size, torch.uint8), b'', found) for found in zip(*levels)]
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            stores = dict(memory=MemoryStore(10**12), disk=FolderStore(folder, 10**12, str))
            for store in stores.values():
                store.begin('benchmark', lasting=False)
                for i, record in enumerate(records):
                    store.write((i, 0), record)

            def read(store: Any) -> None:
                found = [store.read(store.find((i, 0))).levels for i in range(args.batch)]
                for level in zip(*found):
                    torch.stack([one.tensor() for one in level]).to(args.device)

            ways: dict[str, Any] = {n: lambda s=s: read(s) for n, s in stores.items()}
            ways['computing'] = lambda b=backbone, i=images: b(i)
            times = alternate(ways, args.rounds, args.device)
        found = {n: 1e3 * statistics.median(v) / args.batch for n, v in times.items()}
        rows[name] = dict(megabytes=records[0].nbytes / 1e6, **found)
    return dict(backbones=rows)


def show_backbones(figures: dict[str, Any]) -> None:
    columns = ('backbone', 'MB', 'computing, ms', 'from memory, ms', 'from files, ms')
    names = ('megabytes', 'computing', 'memory', 'disk')
    rows = [(n, *(f'{r[name]:.2f}' for name in names)) for n, r in figures['backbones'].items()]
    table(columns, rows)


def show(figures: dict[str, Any]) -> None:
    rows = [
        (way, f'{figures["seconds"][way]:.2f}', f'{figures["of_frozen"][way]:.3f}') for way in WAYS
    ]
    table(('epoch', 'median s', 'of frozen'), rows)
    print(f'\n{figures["images"]} images, {figures["bytes_of_a_view"] / 1e6:.2f} MB a view')


def main() -> None:
    torch.manual_seed(0)
    args = parse_args()
    if args.backbones:
        launch.register_modules()
        report(args, measure_backbones(args), show_backbones)
    else:
        report(args, measure(args), show)


if __name__ == '__main__':
    main()
