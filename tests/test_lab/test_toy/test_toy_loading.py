"""The drawn files go through MMRotate's own datasets and pipelines."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmbackbone_plugins.lab.toy import CLASSES, make_toy_dataset

SMALL = dict(counts=(8, 3, 2), size=192)


@pytest.fixture(scope='module')
def mmrotate():
    module = pytest.importorskip('mmrotate')
    from mmrotate.utils import register_all_modules

    register_all_modules()
    return module


def base_datasets(name, root):
    """Train and validation datasets of mmrotate's own base config, on the drawn files."""
    from mmengine.hub import get_config

    model = 'rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_{}.py'
    cfg = get_config(f'mmrotate::{model.format(name)}')
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    for part in [*train.get('datasets', [train]), val]:
        part.data_root = str(root)
    return Config(dict(train=train, val=val))


def build(cfg):
    from mmrotate.registry import DATASETS

    init_default_scope('mmrotate')
    return DATASETS.build(cfg)


def check(dataset, manifest, splits, skip_empty):
    counted = {name: 0 for name in dataset.metainfo['classes']}
    for i in range(len(dataset)):
        data = dataset[i]
        boxes = data['data_samples'].gt_instances.bboxes
        labels = data['data_samples'].gt_instances.labels
        assert boxes.tensor.shape == (len(labels), 5) and torch.isfinite(boxes.tensor).all()
        assert not len(labels) or boxes.tensor[:, 2:4].min() > 1
        for label in labels.tolist():
            counted[dataset.metainfo['classes'][label]] += 1
    wanted = [manifest['splits'][split] for split in splits]
    images = sum(part['images'] - (part['background'] if skip_empty else 0) for part in wanted)
    assert len(dataset) == images
    objects = {name: sum(part['objects'][name] for part in wanted) for name in wanted[0]['objects']}
    assert {name: count for name, count in counted.items() if count} == {
        name: count for name, count in objects.items() if count
    }
    assert sum(objects.values()) > 0


def test_dota(tmp_path, mmrotate):
    manifest = make_toy_dataset(tmp_path, 'dota', **SMALL)
    cfg = base_datasets('dota', tmp_path)
    for part, split in ((cfg.train, 'train'), (cfg.val, 'val')):
        part.ann_file, part.data_prefix.img_path = f'{split}/annfiles/', f'{split}/images/'
        part.pipeline = resized(part.pipeline, SMALL['size'])
    check(build(cfg.train), manifest, ['train'], skip_empty=True)
    check(build(cfg.val), manifest, ['val'], skip_empty=False)


def test_dior(tmp_path, mmrotate):
    manifest = make_toy_dataset(tmp_path, 'dior', **SMALL)
    # Nothing but data_root changes: these are the folders that mmrotate reads.
    cfg = base_datasets('dior', tmp_path)
    check(build(cfg.train), manifest, ['train', 'val'], skip_empty=True)
    check(build(cfg.val), manifest, ['test'], skip_empty=False)


def resized(pipeline, size):
    """The pipeline at the pictures' own size: DOTA's enlarges them to 1024."""
    for step in pipeline:
        if step['type'] == 'mmdet.Resize':
            step['scale'] = (size, size)
    return pipeline


def test_boxes_come_back_as_they_were_written(tmp_path, mmrotate):
    from mmrotate.structures.bbox import rbox2qbox

    make_toy_dataset(tmp_path, 'dota', **SMALL)
    cfg = base_datasets('dota', tmp_path)
    cfg.val.ann_file, cfg.val.data_prefix.img_path = 'train/annfiles/', 'train/images/'
    dataset = build({**cfg.val, 'pipeline': resized(cfg.val.pipeline, SMALL['size'])})
    for i in range(len(dataset)):
        boxes = dataset[i]['data_samples'].gt_instances.bboxes.tensor
        read = rbox2qbox(boxes).reshape(-1, 4, 2).numpy()
        written = np.array([item['bbox'] for item in dataset.get_data_info(i)['instances']])
        for a, b in zip(read, written.reshape(-1, 4, 2)):
            # The same rectangle, whichever corner comes first.
            distance = np.linalg.norm(a[:, None] - b[None], axis=-1).min(1)
            assert distance.max() < 0.3


@pytest.mark.parametrize('fmt, name', [('dota', 'DOTADataset'), ('dior', 'DIORDataset')])
def test_class_names_are_those_of_the_data_set(mmrotate, fmt, name):
    from mmrotate import datasets

    real = getattr(datasets, name).METAINFO['classes']
    assert set(CLASSES[fmt]) <= set(real)
    assert fmt == 'dior' or set(CLASSES[fmt]) == set(real)
