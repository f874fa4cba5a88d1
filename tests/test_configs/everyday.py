"""The recipes on everyday pictures: drawn data in their layouts, and models of a size for a CPU."""

from pathlib import Path
from typing import Any

import drawn
import stepping
import zoo
from mmengine.config import Config
from mmengine.runner import Runner

SIX = ('bicycle', 'bird', 'car', 'cat', 'dog', 'person')  # what Watercolor and Comic label


def draw(root: Path) -> Path:
    """Draws every data set that a recipe reads, under a folder that stands for ``data/``."""
    from mmdet.datasets import CityscapesDataset, CocoDataset, LVISV1Dataset, VOCDataset

    for split in ('train', 'val'):
        classes = CocoDataset.METAINFO['classes']
        where = f'annotations/instances_{split}2017.json'
        drawn.coco(root / 'coco', where, f'{split}2017/', classes)
        classes = LVISV1Dataset.METAINFO['classes']
        where = f'annotations/lvis_v1_{split}.json'
        drawn.coco(root / 'lvis_v1', where, f'{split}2017/', classes)
        classes = CityscapesDataset.METAINFO['classes']
        where = f'annotations/instancesonly_filtered_gtFine_{split}.json'
        names = [f'town/town_{i}_leftImg8bit.png' for i in range(3)]
        drawn.coco(root / 'cityscapes', where, f'leftImg8bit/{split}/', classes, names)
    classes = VOCDataset.METAINFO['classes']
    every = [[3 * i % 20, (3 * i + 1) % 20, (3 * i + 2) % 20] for i in range(7)]
    drawn.voc(root / 'VOCdevkit' / 'VOC2007', 'trainval', classes, every[:3])
    drawn.voc(root / 'VOCdevkit' / 'VOC2012', 'trainval', classes, every[3:6])
    drawn.voc(root / 'VOCdevkit' / 'VOC2007', 'test', classes, every)
    drawn.voc(root / 'clipart', 'test', classes, every)
    for domain in ('watercolor', 'comic'):
        drawn.voc(root / domain, 'test', SIX, [[0, 1, 2], [3, 4, 5]])
    return root


def move(cfg: Config, root: Path) -> Config:
    """Reads the data under a folder instead of ``data/``, evaluators included."""
    for split in ('train', 'val', 'test'):
        for dataset in zoo.inner_datasets(cfg[f'{split}_dataloader'].dataset):
            assert dataset.data_root.startswith('data/')
            dataset.data_root = f'{root}/' + dataset.data_root[len('data/') :]
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        for metric in evaluator.get('metrics', [evaluator]):
            if 'ann_file' in metric:
                metric.ann_file = metric.ann_file.replace('data/', f'{root}/', 1)
    return cfg


_SMALL = {  # a value by its key: every width of neck and heads
    ('in_channels', 256): 32,
    ('out_channels', 256): 32,
    ('feat_channels', 256): 32,
    ('conv_out_channels', 256): 32,
    ('fc_out_channels', 1024): 32,
    ('num', 512): 32,
    ('nms_pre', 2000): 100,
    ('max_per_img', 2000): 100,
}


def _shrink(node: Any, size: int) -> None:
    """Makes a config of a model or a pipeline small in place; types and structure stay."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _shrink(item, size)
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, int) and (key, value) in _SMALL:
                node[key] = _SMALL[key, value]
            else:
                _shrink(value, size)
        kind = node.get('type', '').split('.')[-1]
        if kind in ('Resize', 'RandomResize', 'RandomChoiceResize'):
            ranged = isinstance(node.get('scale'), list)
            node['scale'] = [(size, size)] * 2 if ranged else (size, size)
        if kind == 'RandomCrop':
            node['crop_size'] = (size, size)
        if kind == 'Pad':
            node['size'] = (size, size)
        if kind == 'RandomResize' and 'ratio_range' in node:
            node['ratio_range'] = (0.9, 2.0)  # at a tenth of 128 px no object is left


def shrink(cfg: Config, work_dir: Path, size: int = 128) -> Config:
    """A recipe at a size for a CPU: narrower, on small pictures, offline."""
    net = zoo.original(cfg)
    net.init_cfg = None
    if net.type.endswith('EfficientNet'):
        net.arch, cfg.model.neck.in_channels = 'b0', [40, 112, 320]
    else:
        net.base_channels, cfg.model.neck.in_channels = 8, [32, 64, 128, 256]
    for part in (cfg.model.neck, cfg.model.get('rpn_head'), cfg.model.get('bbox_head')):
        _shrink(part, size)
    _shrink([cfg.model.get('roi_head'), cfg.model.get('train_cfg')], size)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        _shrink(loader.dataset, size)
    cfg.work_dir = str(work_dir)
    cfg.log_level = 'WARNING'
    cfg.experiment_name = str(work_dir).replace('/', '_')  # loggers and the like go by name
    cfg.visualizer.name = cfg.experiment_name
    cfg.default_hooks.checkpoint = None
    cfg.load_from = None
    return cfg


class Watch(stepping.Watch):
    """Keeps the weights at the start and after every step, and the losses."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        self._keep(runner)

    def after_train_epoch(self, runner) -> None:
        pass


def train(cfg: Config, steps: int) -> Watch:
    """Trains for a few steps under the config's own hooks, without validation."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=False)
    cfg.param_scheduler = None
    for split in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{split}_{key}'] = None
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return watch
