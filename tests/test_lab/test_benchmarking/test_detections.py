"""Labels and detections lie on the pictures of the files, whatever the test pipeline does."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import InstanceData

from mmbackbone_plugins.lab.benchmarking import detections
from mmbackbone_plugins.lab.benchmarking.detections import look_at_images
from mmbackbone_plugins.lab.launch import register_modules

WIDTH, HEIGHT = 96, 64
BOX = (12, 20, 52, 36)  # left, top, right, bottom of the one object, in pixels of the file
CORNERS = [12, 20, 52, 20, 52, 36, 12, 36]
LOAD = dict(type='mmdet.LoadImageFromFile')
LABELS = [
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='mmrotate.ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]
PACK = dict(type='mmdet.PackDetInputs')
DOUBLE = dict(type='mmdet.Resize', scale=(192, 192), keep_ratio=True)
BENT = dict(type='mmdet.Resize', scale=(192, 64), keep_ratio=False)
PAD = dict(type='mmdet.Pad', size=(256, 224))
FLIPS = [
    dict(type='mmdet.RandomFlip', prob=1.0, direction=direction)
    for direction in ('horizontal', 'vertical', 'diagonal')
]
PIPELINES = dict(
    plain=LABELS,
    resized_before_labels=[DOUBLE, *LABELS],
    resized_after_labels=[*LABELS, DOUBLE],
    resized_by_mmcv=[dict(type='Resize', scale=(192, 192), keep_ratio=True), *LABELS],
    bent_before_labels=[BENT, *LABELS],
    bent_after_labels=[*LABELS, BENT],
    padded=[DOUBLE, *LABELS, PAD],
    padded_after_labels=[*LABELS, DOUBLE, PAD],
    flipped=[*LABELS, DOUBLE, FLIPS[0]],
    upside_down=[DOUBLE, *LABELS, FLIPS[1]],
    padded_and_turned=[*LABELS, DOUBLE, PAD, FLIPS[2]],
)


class SeesBright(torch.nn.Module):
    """Finds the bright pixels of its input, and scales their box back as every detector does."""

    def test_step(self, batch):
        (image,), (sample,) = batch['inputs'], batch['data_samples']
        ys, xs = torch.nonzero(image.float().mean(0) > 128, as_tuple=True)
        box = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
        box = box / torch.tensor(sample.get('scale_factor', (1.0, 1.0))).repeat(2)
        sample.pred_instances = InstanceData(
            bboxes=box.repeat(2, 1), scores=torch.tensor([0.9, 0.1]), labels=torch.tensor([1, 0])
        )
        return [sample]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    pytest.importorskip('mmrotate')
    register_modules()
    root = tmp_path_factory.mktemp('data')
    (root / 'images').mkdir()
    (root / 'labels').mkdir()
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 250
    cv2.imwrite(str(root / 'images/P1.png'), image)
    corners = ' '.join(map(str, CORNERS))
    # The second is too hard to count, and no label of the picture.
    (root / 'labels/P1.txt').write_text(f'{corners} ship 0\n1 1 9 1 9 9 1 9 ship 1\n')
    return root


def build(root, steps, **options):
    config = dict(
        type='mmrotate.DOTADataset',
        data_root=str(root),
        ann_file='labels/',
        data_prefix=dict(img_path='images/'),
        metainfo=dict(classes=('plane', 'ship')),
        diff_thr=0,
        test_mode=True,
        pipeline=[LOAD, *steps, PACK],
    )
    init_default_scope('mmrotate')
    return DATASETS.build({**config, **options})


def corners(quad):
    """The four corners, whichever comes first."""
    return sorted(map(tuple, np.round(np.array(quad).reshape(4, 2))))


@pytest.mark.parametrize('name', PIPELINES)
def test_boxes_are_in_pixels_of_the_file(data, name):
    (look,) = look_at_images(SeesBright(), build(data, PIPELINES[name]), 'clear', 3)
    assert look['domain'] == 'clear' and look['path'] == str(data / 'images/P1.png')
    expected = sorted(map(tuple, np.reshape(CORNERS, (4, 2))))
    (truth,), (found,) = look['truth']['quads'], look['found']['quads']
    assert corners(truth) == expected
    assert np.abs(np.array(corners(found)) - expected).max() <= 1  # a pixel of the input
    assert look['truth']['labels'] == look['found']['labels'] == [1]
    assert look['found']['scores'] == [pytest.approx(0.9)]


def test_a_wrapped_set(data):
    inner = build(data, PIPELINES['resized_before_labels'])
    several = DATASETS.build(dict(type='ConcatDataset', datasets=[inner, inner]))
    looks = look_at_images(SeesBright(), several, 'clear', 2)
    assert [corners(look['truth']['quads'][0])[0] for look in looks] == [(12, 20)] * 2


@pytest.mark.parametrize(
    'bbox', [[12, 20, 52, 36], [32, 28, 40, 16, 0.0], CORNERS], ids=['corner', 'angle', 'corners']
)
def test_every_notation_of_a_box(data, bbox, monkeypatch):
    dataset = build(data, [])
    info = dataset.get_data_info(0)
    info['instances'] = [dict(bbox=bbox, bbox_label=0, ignore_flag=0)]
    monkeypatch.setattr(dataset, 'get_data_info', lambda index: dict(info))
    (look,) = look_at_images(SeesBright(), dataset, 'clear', 1)
    assert corners(look['truth']['quads'][0]) == sorted(map(tuple, np.reshape(CORNERS, (4, 2))))


def test_images_with_the_most_labels(monkeypatch):
    class Labelled(list):
        def get_data_info(self, index):
            counted, ignored = self[index]
            return dict(instances=[{}] * counted + [dict(ignore_flag=1)] * ignored)

    monkeypatch.setattr(detections, 'look_at_image', lambda model, data, i: dict(index=i))
    dataset = Labelled([(1, 9), (3, 0), (0, 0), (4, 1), (3, 2)])
    looks = look_at_images(None, dataset, 'clear', 3)
    assert looks == [dict(domain='clear', index=i) for i in (3, 1, 4)]
