"""Errors of MMRotate's data sets, which name neither the file nor the line."""

from pathlib import Path

import pytest
import rig
from mmengine.registry import DATASETS, DefaultScope
from test_oddities import DIOR, DOTA, LINE, XML, Dior, Dota, brackets, training

from mmbackbone_plugins.lab.datasets import LabelError, labels_explained
from mmbackbone_plugins.lab.launch import register_modules

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope='module', autouse=True)
def _modules():
    register_modules()


def build(dataset):
    with DefaultScope.overwrite_default_scope('mmrotate'), labels_explained():
        return DATASETS.build(dataset)


@pytest.mark.parametrize(
    'kind, name', [*((Dota, name) for name in DOTA), *((Dior, name) for name in DIOR)]
)
def test_whatever_stops_building_is_named(kind, name, tmp_path, monkeypatch):
    """For relative folders, too, to which MMRotate's data sets join their files."""
    monkeypatch.chdir(tmp_path)
    change, kinds = (DOTA if kind is Dota else DIOR)[name]
    data = kind(Path('data'))
    change(data)
    dataset = data.dataset(pipeline=[])
    error = training(dataset)
    if not isinstance(error, Exception):
        build(dataset)
        return
    with pytest.raises(LabelError, match=f'{kind.__name__.upper()}Dataset.*data') as explained:
        build(dataset)
    assert kinds[0] in str(explained.value) and '\n' not in str(explained.value)
    assert type(explained.value.__cause__) is type(error)


@pytest.mark.parametrize(
    'kind, text, options, words',
    [
        (Dota, LINE * 2 + LINE.replace('ship', 'boat'), {}, 'a.txt:3: unknown class: .boat.'),
        (Dota, LINE + LINE[3:], {}, 'a.txt:2: line without 10 fields'),
        (Dior, XML.replace('ship', 'boat'), {}, 'a.xml, object 1: unknown class: .boat.'),
        (Dior, XML, dict(ann_file='other.txt'), 'other.txt: list of pictures is missing'),
        (Dior, XML, dict(ann_subdir='elsewhere'), 'elsewhere: folder of labels is missing'),
        (Dota, '', dict(filter_cfg=dict(filter_empty_gt=True)), 'no picture is left'),
        (Dota, LINE, dict(metainfo=dict(classes='ship')), 'needs a comma'),
        (Dota, LINE, dict(ann_file='none'), 'none: folder of labels is missing'),
    ],
)
def test_the_line_is_named(kind, text, options, words, tmp_path):
    data = kind(tmp_path / 'data')
    data.label.write_text(text)
    with pytest.raises(LabelError, match=words):
        build(data.dataset(**options))


def test_a_path_that_is_a_pattern_is_named(tmp_path):
    data = Dota(tmp_path / 'data')
    brackets(data)
    with pytest.raises(LabelError, match='path is a pattern'):
        build(data.dataset())


def test_other_errors_pass():
    """Also those of data sets that are whole, or of other kinds."""
    with pytest.raises(KeyError, match='x'), labels_explained():
        raise KeyError('x')
    with pytest.raises(FileNotFoundError):
        build(dict(type='mmdet.CocoDataset', ann_file='nowhere.json'))


@pytest.mark.run
def test_the_last_line_of_a_training(tmp_path, capsys):
    data = Dota(tmp_path / 'data')
    data.label.write_text(LINE + LINE.replace('ship', 'boat'))
    config = ROOT / 'configs/baselines/oriented-rcnn-le90_r50_fpn_1x_dota.py'
    options = ('data_root', data.root), ('ann_file', 'annfiles'), ('data_prefix.img_path', 'images')
    settings = ['--cfg-options', 'model.backbone.init_cfg=None']
    for loader in ('train', 'val'):
        settings += [f'{loader}_dataloader.dataset.{key}={value}' for key, value in options]
    status = rig.call_tool('train', config, '--work-dir', tmp_path / 'run', *settings)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert status and f"{data.label}:2: unknown class: 'boat'" in last
    assert 'tools/check_data.py' in last
