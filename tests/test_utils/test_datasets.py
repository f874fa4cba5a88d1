"""Walks over the datasets of a config."""

from copy import deepcopy

import pytest
import rig
from mmengine.config import Config, ConfigDict

from mmbackbone_plugins.utils.datasets import every_dataset, innermost_datasets

A, B, C = (dict(type='DOTADataset', data_root=name) for name in 'abc')
NESTED = dict(
    type='RepeatDataset',
    times=2,
    dataset=dict(type='ConcatDataset', datasets=[A, dict(type='ClassBalanced', dataset=B), C]),
)


@pytest.mark.parametrize('kind', [dict, ConfigDict])
def test_every_dataset_from_the_outside_in(kind):
    loader = kind(batch_size=2, dataset=deepcopy(NESTED))
    paths = [where for where, _ in every_dataset(loader, 'train_dataloader')]
    inside = 'train_dataloader.dataset.dataset'
    assert paths == [
        'train_dataloader',
        'train_dataloader.dataset',
        inside,
        f'{inside}.datasets.0',
        f'{inside}.datasets.1',
        f'{inside}.datasets.1.dataset',
        f'{inside}.datasets.2',
    ]
    found = innermost_datasets(loader, 'train_dataloader')
    assert [one['data_root'] for _, one in found] == ['a', 'b', 'c']
    assert [where for where, _ in found] == [paths[3], paths[5], paths[6]]
    found[1][1]['data_root'] = 'new'  # they are the config's own, not copies
    assert loader['dataset']['dataset']['datasets'][1]['dataset']['data_root'] == 'new'


def test_what_wraps_nothing():
    assert innermost_datasets(A) == [('dataset', A)]
    assert innermost_datasets(dict(A, dataset=None, datasets=[]))[0][1]['data_root'] == 'a'
    assert list(every_dataset(None)) == [] and innermost_datasets('not a config') == []


def test_tta_changes_the_pipeline_of_every_dataset_inside_a_wrapper():
    tool = rig.load_tool('test')
    pair = [dict(type='DOTADataset', pipeline=['old']) for _ in range(2)]
    joined = dict(type='ConcatDataset', datasets=pair)
    settings = dict(model={}, tta_model=dict(type='TTA'), tta_pipeline=['new'])
    cfg = Config(dict(settings, test_dataloader=dict(dataset=joined)))
    tool.use_tta(cfg)
    dataset = cfg.test_dataloader.dataset
    assert [one.pipeline for one in dataset.datasets] == [['new'], ['new']]
    assert 'pipeline' not in dataset and cfg.model.type == 'TTA'
