"""Detectors of every kind train under all hooks at once; those that only watch change no bit."""

from importlib import import_module
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from test_images import branches, lines

CLASSES = dict(num_classes=2, init_cfg=None)
BN = dict(norm_cfg=dict(type='BN'))
QUERIES = dict(
    dict(CLASSES, num_layers=1, num_queries=20, num_dn_queries=4, num_feats=16),
    embed_dims=32,
    feedforward_channels=32,
)


@DATASETS.register_module(force=True)
class MaskedScenes(rig.DrawnScenes):
    """Drawn scenes whose objects have the masks of their boxes."""

    def __getitem__(self, index):
        from mmdet.structures.mask import BitmapMasks

        item = super().__getitem__(index)
        truth = item['data_samples'].gt_instances
        masks = torch.zeros(len(truth), self.size, self.size, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, truth.bboxes.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        truth.masks = BitmapMasks(masks.numpy(), self.size, self.size)
        return item


def shrink(node, **values):
    """Sets every occurrence of a key, in place."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in values:
            node[key] = values[key]
        elif isinstance(value, (dict, list)):
            shrink(value, **values)


def theirs(path, **values):
    """A model of mmdet's configs, with other values; with a ResNet it gets a small one."""
    home = Path(import_module('mmdet').__file__).parent / '.mim' / 'configs'
    model = Config.fromfile(home / path).model.to_dict()
    shrink(model, **values)
    net = model['backbone']
    if net['type'] == 'ResNet':
        model['backbone'] = rig.resnet(out_indices=net['out_indices'])
        model['neck'].update(in_channels=[rig.CHANNELS[i] for i in net['out_indices']])
    return model


def detr(path):
    model = theirs(path, **QUERIES)
    model['neck'].update(out_channels=32)
    model['bbox_head'].update(embed_dims=32)
    return model


def one_stage(path, **values):
    """RTMDet and YOLOX: CSP nets of an eighth of their width."""
    model = theirs(path, **CLASSES, **values, widen_factor=0.125, deepen_factor=0.33)
    model['neck'].update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
    model['bbox_head'].update(in_channels=16, feat_channels=16)
    return model


def yolox():
    sizes = dict(random_size_range=(64, 128), interval=1)
    return one_stage('yolox/yolox_s_8xb8-300e_coco.py', **sizes)


def two_stage(path):
    narrow = dict(fc_out_channels=32, conv_out_channels=16, feat_channels=16)
    model = theirs(path, **CLASSES, **narrow, out_channels=16)
    shrink(model['roi_head'], in_channels=16)
    model['rpn_head'].update(in_channels=16)
    return model


def ssd():
    model = theirs('ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', **CLASSES)
    model['backbone'].update(widen_factor=0.25)
    widths = (24, 1280, 64, 32, 32, 32)
    model['neck'].update(in_channels=widths[:2], out_channels=widths)
    model['bbox_head'].update(in_channels=widths)
    return model


def soft_teacher():
    train = dict(freeze_teacher=True, pseudo_label_initial_score_thr=0.0, rpn_pseudo_thr=0.0)
    train.update(cls_pseudo_thr=0.0, reg_pseudo_thr=9.0, sup_weight=1.0, unsup_weight=1.0)
    train.update(jitter_times=2, jitter_scale=0.06, min_pseudo_bbox_wh=(0.01, 0.01))
    inner = rig.detector('faster-rcnn')
    return dict(
        rig.semi_supervised(), type='mmdet.SoftTeacher', detector=inner, semi_train_cfg=train
    )


def distilled():
    """A GFL whose box distributions are learned from those of another."""
    small = dict(CLASSES, in_channels=32, feat_channels=32, stacked_convs=1, out_channels=32)
    model = theirs('ld/ld_r18-gflv1-r101_fpn_1x_coco.py', **small)
    head = {k: v for k, v in model['bbox_head'].items() if k != 'loss_ld'}
    teacher = dict(model, type='GFL', bbox_head=dict(head, type='GFLHead'))
    for key in ('teacher_config', 'teacher_ckpt'):
        del teacher[key]
    return dict(model, teacher_config=dict(model=teacher), teacher_ckpt=None)


DETECTORS = {
    'deformable-detr': lambda: detr('deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'),
    'dino': lambda: detr('dino/dino-4scale_r50_8xb2-12e_coco.py'),
    'rtmdet': lambda: one_stage('rtmdet/rtmdet_l_8xb32-300e_coco.py', **BN),
    'yolox': yolox,
    'mask-rcnn': lambda: two_stage('_base_/models/mask-rcnn_r50_fpn.py'),
    'ssd': ssd,
    'soft-teacher': soft_teacher,
    'dynamic-rcnn': lambda: two_stage('dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py'),
    'distilled': distilled,
}


QUICK = ('dino', 'rtmdet', 'soft-teacher', 'distilled')


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in DETECTORS]
)
def test_watching_changes_no_bit(name, tmp_path):
    options = dict(model=DETECTORS[name](), epochs=2, length=4, optimizer=rig.ADAMW)
    target, more, by_epoch = 'backbone', [], True
    if name == 'soft-teacher':  # its sampler has no end, so its loop counts iterations
        target, more, by_epoch = 'student.backbone', [dict(type='mmdet.MeanTeacherHook')], False
        options.update(train_dataloader=branches(), iters=4)
    if name == 'mask-rcnn':
        data = dict(type='MaskedScenes', length=4)
        options['train_dataloader'] = dict(
            branches(), dataset=data, sampler=dict(type='DefaultSampler', shuffle=False)
        )
    acting = [
        rig.dbf(2, by_epoch=by_epoch, target=target),
        dict(type='DistortionRegularizerHook', importance='rgn', num_batches=2, target=target),
        *more,
    ]
    watching = [
        dict(type='RGNHook', interval=1, target=target),
        dict(type='DriftHook', num_images=2, target=target),
        dict(type='EigenspectrumHook', split='train', num_batches=1),
        dict(type='TrainingCostHook'),
    ]
    plain = rig.train(tmp_path / 'plain', hooks=acting, **options)
    watched = rig.train(tmp_path / 'watched', hooks=acting + watching, **options)
    assert watched.losses == plain.losses and len(plain.losses) == 4
    assert not rig.equal(watched.states[-1], plain.states[-1])
    # The acting hooks act, the watching ones have seen something.
    states = [plain.states[0], *plain.per_iter]
    for before, after, trains in zip(states, states[1:], plain.trains):
        moved = rig.equal(before, after, f'{target}.')
        assert bool(moved) == any(n.startswith(f'{target}.') for n in trains)
    assert len(list((tmp_path / 'watched').glob('importance-rgn-*'))) == 1
    for kind, count in dict(rgn=2, drift=1, eigen=2).items():
        assert len(lines(tmp_path / 'watched', kind)) >= count, kind
    assert (tmp_path / 'watched' / 'cost.json').exists()
