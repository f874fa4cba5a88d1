"""What a cached epoch of a frozen backbone costs, of an epoch that computes everything.

    python benchmarks/feature_cache.py                 # R50-FPN RetinaNet, light head, 384 px
    python benchmarks/feature_cache.py --config CONFIG # a config's model, data and loader

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
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

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
    optimizer = dict(type='SGD', lr=1e-4, momentum=0.9)
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


def show(figures: dict[str, Any]) -> None:
    rows = [
        (way, f'{figures["seconds"][way]:.2f}', f'{figures["of_frozen"][way]:.3f}') for way in WAYS
    ]
    table(('epoch', 'median s', 'of frozen'), rows)
    print(f'\n{figures["images"]} images, {figures["bytes_of_a_view"] / 1e6:.2f} MB a view')


def main() -> None:
    torch.manual_seed(0)
    args = parse_args()
    report(args, measure(args), show)


if __name__ == '__main__':
    main()
