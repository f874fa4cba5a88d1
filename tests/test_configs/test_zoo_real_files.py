"""The zoo's pipelines and evaluators, untouched, on real files of DOTA and DIOR-R."""

import math
import pickle
import zipfile

import numpy as np
import pytest
import stepping
import torch
import zoo
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmengine.registry import METRICS
from mmengine.runner import Runner

# By data set: a config, the side of its pictures, and the number of objects in the sample.
CASES = {
    'dota': ('rotated-retinanet-rbox-le90_r50_fpn_dbf-rho10-1x_dota', 1024, 4),
    'dior': ('rotated-retinanet-rbox-le90_r50_fpn_dbf-rho10-1x_dior', 800, 1),
    'dota-hbb': ('retinanet_r50_fpn_dbf-rho10-1x_dota-hbb', 1024, 4),
    'dior-hbb': ('retinanet_r50_fpn_dbf-rho10-1x_dior-hbb', 800, 1),
}
every = pytest.mark.parametrize('data', CASES)


def corners(root, data):
    """The labels as they stand in the file: N x 4 corners."""
    if data.startswith('dota'):
        (file,) = (root / 'train' / 'annfiles').glob('*.txt')
        rows = [line.split()[:8] for line in file.read_text().splitlines()]
    else:
        import xml.etree.ElementTree as ET

        (file,) = (root / 'Annotations' / 'Oriented Bounding Boxes').glob('*.xml')
        boxes = ET.parse(file).getroot().iter('robndbox')
        rows = [[float(v.text) for v in box] for box in boxes]
    return np.array(rows, dtype=np.float32).reshape(-1, 4, 2)


def uprights(points):
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


@every
def test_train_pipeline(data, real_root):
    name, size, objects = CASES[data]
    cfg = zoo.load(name)
    root = real_root[zoo.part(name, 'data')]
    dataset = zoo.build_dataset(cfg, 'train', root)
    assert len(dataset) == 1
    raw = corners(root, data)
    assert len(raw) == objects
    for seed in range(4):  # with and without flips
        np.random.seed(seed)
        item = dataset[0]
        assert item['inputs'].shape == (3, size, size) and item['inputs'].dtype == torch.uint8
        truth = item['data_samples'].gt_instances
        kind = 'hbox' if data.endswith('-hbb') else 'rbox'
        assert isinstance(truth.bboxes, get_box_type(kind)[1])
        assert len(truth.bboxes) == objects
        centers = truth.bboxes.centers
        assert ((centers > 0) & (centers < size)).all()
        assert (truth.labels < (20 if 'dior' in data else 15)).all()
        # The samples have the size that the pipeline resizes to, so extents are those of the file.
        upright = truth.bboxes.convert_to('hbox')
        found = torch.stack([upright.widths, upright.heights], dim=1).sort(dim=1).values
        wanted = uprights(raw)[:, 2:] - uprights(raw)[:, :2]
        growth = found.numpy() - np.sort(wanted, axis=1)
        if kind == 'hbox':
            assert np.abs(growth).max() <= 1e-3
        else:  # the rectangle around a somewhat skewed quadrilateral is a little larger
            assert growth.min() >= -1e-3 and growth.max() <= 0.1 * wanted.max()


@every
def test_training_step(data, real_root, tmp_path):
    name, _, _ = CASES[data]
    root = real_root[zoo.part(name, 'data')]
    cfg = stepping.shrink(zoo.load(name), root, tmp_path / 'run')
    watch = stepping.train(cfg, epochs=1)
    (losses,) = watch.losses
    assert all(math.isfinite(v) for v in losses.values())
    assert losses['loss_bbox'] > 0
    assert any(k.startswith('backbone.') for k in watch.moved(0))


@pytest.mark.parametrize('data', ['dota-hbb', 'dior-hbb'])
def test_horizontal_metric_sees_upright_boxes(data, real_root):
    """Perfect predictions score 1; the raw quadrilaterals would have been misread."""
    name, _, _ = CASES[data]
    cfg = zoo.load(name)
    root = real_root[zoo.part(name, 'data')]
    dataset = zoo.build_dataset(cfg, 'val', root)
    sample = dataset[0]['data_samples']
    truth = sample.gt_instances
    assert isinstance(truth.bboxes, HorizontalBoxes)
    assert np.allclose(truth.bboxes.tensor.numpy(), uprights(corners(root, data)))
    for shift, score in ((0, 1.0), (1000, 0.0)):
        metric = zoo.build(METRICS, cfg.val_evaluator.copy(), cfg.default_scope)
        metric.dataset_meta = dataset.metainfo
        sample.pred_instances = type(truth)(
            bboxes=truth.bboxes.tensor + shift,
            labels=truth.labels,
            scores=torch.ones(len(truth.labels)),
        )
        metric.process({}, [sample.to_dict()])
        assert metric.evaluate(size=1)['pascal_voc/mAP'] == pytest.approx(score)


@pytest.mark.parametrize('data', ['dota', 'dota-hbb'])
def test_testing_without_labels(data, real_root, tmp_path):
    """The test split of DOTA has no labels: testing writes what can be handed in or kept."""
    name, _, _ = CASES[data]
    cfg = stepping.shrink(zoo.load(name), real_root['dota'], tmp_path / 'run')
    cfg.model.test_cfg.score_thr = 0.0  # untrained: every score is about 0.01
    cfg.model.test_cfg.max_per_img = 20
    out = tmp_path / 'out'
    key = 'outfile_prefix' if data == 'dota' else 'out_file_path'
    cfg.test_evaluator[key] = str(out / 'Task1' if data == 'dota' else out / 'hbb.pkl')
    Runner.from_cfg(cfg).test()
    if data == 'dota':
        with zipfile.ZipFile(out / 'Task1' / 'Task1.zip') as archive:
            assert len(archive.namelist()) == 15
            lines = ''.join(archive.read(n).decode() for n in archive.namelist()).splitlines()
        assert lines and all(line.split()[0] == 'P0000' for line in lines)
    else:
        (result,) = pickle.loads((out / 'hbb.pkl').read_bytes())
        assert result['pred_instances']['bboxes'].shape == (20, 4)
