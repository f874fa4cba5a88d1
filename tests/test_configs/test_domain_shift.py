"""Several test sets in one config: each is scored by itself, under its name, with its classes."""

import re
import subprocess

import everyday
import pytest
import torch
import zoo
from mmengine.registry import EVALUATOR
from mmengine.runner import Runner

VOC = 'faster-rcnn_r50_fpn_frozen-80k_voc-shift'
FOGGY = 'faster-rcnn_r50_fpn_frozen-24k_cityscapes-foggy'
DOMAINS = ('clipart', 'watercolor', 'comic', 'voc2007')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = everyday.draw(tmp_path_factory.mktemp('everyday'))
    _fog(root / 'cityscapes')
    return root


def _fog(city):
    """The foggy pictures under their official names, and the line of the card that lists them."""
    for picture in (city / 'leftImg8bit' / 'val').glob('*/*.png'):
        foggy = city / 'leftImg8bit_foggy' / 'val' / picture.parent.name
        foggy.mkdir(parents=True, exist_ok=True)
        (foggy / f'{picture.stem}_foggy_beta_0.02.png').symlink_to(picture)
    card = (zoo.CONFIGS / 'domain_shift' / 'README.md').read_text()
    (line,) = re.findall(r'^sed (?:.|\\\n)*?json$', card, re.MULTILINE)
    subprocess.run(line.replace('data/cityscapes', str(city)), shell=True, check=True)


def test_set(cfg):
    return zoo.build(zoo.DATASETS, cfg.test_dataloader.dataset, cfg.default_scope)


test_set.__test__ = False


def score(cfg, dataset, predict):
    """Scores what a function makes of each picture's true boxes and labels."""
    evaluator = zoo.build(EVALUATOR, cfg.test_evaluator.copy(), cfg.default_scope)
    evaluator.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        truth = sample.gt_instances
        boxes, labels, scores = predict(sample.img_path, truth.bboxes.tensor, truth.labels)
        sample.pred_instances = type(truth)(bboxes=boxes, labels=labels, scores=scores)
        # as a detector gives them: at the scale of the file, which is that of the truth
        evaluator.process(data_samples=[sample], data_batch={})
    return evaluator.evaluate(len(dataset))


@pytest.fixture(scope='module')
def voc(root):
    cfg = everyday.move(zoo.load(VOC), root)
    for metric in cfg.test_evaluator.metrics:
        metric.iou_thrs = [0.5]  # ten thresholds take ten times as long
    return cfg, test_set(cfg)


def truthful(path, boxes, labels):
    return boxes, labels, torch.full((len(boxes),), 0.9)


def test_perfect_predictions_score_one_everywhere(voc):
    found = score(*voc, truthful)
    assert {f'{d}/pascal_voc/mAP' for d in DOMAINS} <= found.keys()
    assert all(found[f'{d}/pascal_voc/mAP'] == pytest.approx(1) for d in DOMAINS)


def test_other_classes_do_not_distort_a_domain_of_six(voc):
    """Confident nonsense of the 14 classes that Watercolor and Comic do not label."""
    names = voc[1].metainfo['classes']
    others = torch.tensor([i for i, n in enumerate(names) if n not in everyday.SIX])
    assert len(names) == 20 and len(others) == 14

    def noisy(path, boxes, labels):
        extra = torch.tensor([[5.0, 5, 90, 90]]).repeat(len(others), 1)
        scores = torch.cat([torch.full((len(others),), 0.99), torch.full((len(boxes),), 0.9)])
        return torch.cat([extra, boxes]), torch.cat([others, labels]), scores

    found = score(*voc, noisy)
    for domain in ('watercolor', 'comic'):
        assert found[f'{domain}/pascal_voc/mAP'] == pytest.approx(1)
    # Where those classes are labelled, it does count against a model.
    assert found['clipart/pascal_voc/mAP'] < 0.9 and found['voc2007/pascal_voc/mAP'] < 0.9


def test_labels_of_all_domains_are_those_of_the_model(voc):
    """A box called by the name of another of the six classes is wrong."""
    six = [voc[1].metainfo['classes'].index(name) for name in everyday.SIX]
    seen = set()

    def shifted(path, boxes, labels):
        if 'watercolor' in path or 'comic' in path:
            seen.update(labels.tolist())
            labels = torch.tensor([six[(six.index(i) + 1) % 6] for i in labels.tolist()])
        return truthful(path, boxes, labels)

    found = score(*voc, shifted)
    assert seen == set(six)
    assert found['watercolor/pascal_voc/mAP'] == found['comic/pascal_voc/mAP'] == 0
    assert found['clipart/pascal_voc/mAP'] == found['voc2007/pascal_voc/mAP'] == pytest.approx(1)


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_score_bears_the_name_of_its_domain(domain, voc):
    """A model that is right in one domain only."""

    def partial(path, boxes, labels):
        right = ('VOC2007' if domain == 'voc2007' else domain) in path
        return truthful(path, boxes if right else boxes + 1000, labels)

    found = score(*voc, partial)
    scores = {d: found[f'{d}/pascal_voc/mAP'] for d in DOMAINS}
    assert scores == {d: pytest.approx(float(d == domain)) for d in DOMAINS}


def test_thresholds_are_the_papers():
    cfg = zoo.load(VOC)
    for metric in (cfg.val_evaluator, *cfg.test_evaluator.metrics):
        assert metric.iou_thrs == pytest.approx([0.5 + 0.05 * i for i in range(10)])
    assert [m.eval_mode for m in cfg.test_evaluator.metrics] == ['area'] * 3 + ['11points']
    assert cfg.val_evaluator.eval_mode == '11points'


def test_fog_is_scored_apart(root):
    cfg = everyday.move(zoo.load(FOGGY), root)
    dataset = test_set(cfg)

    def partial(path, boxes, labels):
        return truthful(path, boxes if 'foggy' in path else boxes + 1000, labels)

    found = score(cfg, dataset, partial)
    assert found['foggy/coco/bbox_mAP'] > 0.99
    assert found['cityscapes/coco/bbox_mAP'] == 0


@pytest.mark.parametrize('name, domains', [(VOC, DOMAINS), (FOGGY, ('foggy', 'cityscapes'))])
def test_testing_a_detector(name, domains, root, tmp_path):
    """Through the runner, as ``tools/test.py`` does it."""
    cfg = everyday.shrink(everyday.move(zoo.load(name), root), tmp_path)
    for metric in cfg.test_evaluator.metrics:
        if 'iou_thrs' in metric:
            metric.iou_thrs = [0.5]
    found = Runner.from_cfg(cfg).test()
    prefixes = {key.split('/')[0] for key in found}
    assert prefixes == set(domains)
    assert all(0 <= v <= 1 or v == -1 for v in found.values())
