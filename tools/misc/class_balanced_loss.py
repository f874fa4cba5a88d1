"""Write a config whose classifiers have a class-balanced loss, from the labels of its training set.

    python tools/misc/class_balanced_loss.py CONFIG --out work_dirs/balanced.py

The weight of a class with n objects is (1 - beta) / (1 - beta ** n), the inverse of the effective
number of its objects (Cui et al., CVPR 2019, arXiv 1901.05555), scaled to a mean of 1 over the
classes; the background keeps 1. mmdet's CrossEntropyLoss takes them as they are, so the config
needs nothing of this package that it did not need before.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, make_parser, run_tool  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file of a two-stage detector')
    parser.add_argument('--out', type=Path, required=True, help='config file to write')
    parser.add_argument(
        '--beta',
        type=float,
        default=0.999,
        help='0: no weights; towards 1: inverse frequency; default: %(default)s',
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if not 0 <= args.beta < 1:
        parser.error(f'--beta must be at least 0 and below 1, got {args.beta}')
    if args.out.suffix != '.py':
        parser.error(f'--out must be a .py file, got {args.out}')
    return args


def weights(counts: Sequence[int], beta: float) -> list[float]:
    """Class-balanced weights with a mean of 1; a class without an object counts as having one."""
    effective = 1 - np.power(beta, np.maximum(np.asarray(counts, dtype=np.float64), 1))
    inverse = (1 - beta) / effective
    return (inverse / inverse.mean()).tolist()


def count_objects(dataset: Any, num_classes: int) -> list[int]:
    """Objects of each class in a data set, by the labels that it gives to a model."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for index in range(len(dataset)):
        for instance in dataset.get_data_info(index)['instances']:
            if not instance['ignore_flag']:
                counts[instance['bbox_label']] += 1
    return counts.tolist()


def innermost(dataset: dict) -> dict:
    """The config of a data set without its wrappers; ValueError if several data sets are joined."""
    from mmbackbone_plugins.utils.datasets import every_dataset
    from mmbackbone_plugins.utils.names import type_name

    for _, one in every_dataset(dataset):
        if 'datasets' in one:
            raise ValueError(
                f'train_dataloader.dataset: {type_name(one)} joins several; not supported'
            )
    return one


def balance(cfg, beta: float) -> list[int]:
    """Gives every classifier of the config its weights, in place; returns the counts.

    Raises:
        ValueError: If the detector has no RoI head, or a loss that takes no weights.
    """
    from mmengine.registry import DATASETS, init_default_scope

    from mmbackbone_plugins.utils.names import type_name

    roi_head = cfg.model.get('roi_head')
    if roi_head is None:
        raise ValueError('model has no roi_head: only two-stage detectors have a loss_cls to weigh')
    heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]
    for head in heads:
        loss = head.loss_cls
        if type_name(loss) != 'CrossEntropyLoss' or loss.get('use_sigmoid'):
            raise ValueError(f'loss_cls must be a CrossEntropyLoss with a softmax, got {loss}')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    settings = dict(innermost(cfg.train_dataloader.dataset), pipeline=[])
    counts = count_objects(DATASETS.build(settings), heads[0].num_classes)
    for head in heads:
        head.loss_cls.class_weight = [*weights(counts, beta), 1.0]  # the last is the background
    return counts


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab import launch

    sys.path.insert(0, os.getcwd())  # for a config's own modules
    cfg = launch.load_config(args.config, args.cfg_options)
    counts = balance(cfg, args.beta)
    cfg.pop('work_dir', None)  # that of the new file's name
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(args.out)
    empty = sum(c == 0 for c in counts)
    print(
        f'{len(counts)} classes of {min(counts):,} to {max(counts):,} objects'
        f'{f", {empty} of them without any" if empty else ""}; wrote {args.out}'
    )


def main() -> int:
    return run_tool(work, parse_args())


if __name__ == '__main__':
    sys.exit(main())
