"""Hooks that look at images beside a run, whatever its data set, its detector and its end are."""

import json
from pathlib import Path

import pytest
import rig
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

PACK = dict(type='mmdet.PackDetInputs')
RESIZE = dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=False)
DRIFT = dict(type='DriftHook', num_images=3)
EIGEN = dict(type='EigenspectrumHook', split='train', num_batches=2)
EWC = dict(type='DistortionRegularizerHook', importance='ewc', coeff=0.0, num_batches=2)
PROBE = dict(type='FreezingSchedulerHook', schedule=dict(type='ProbeThenFinetune', probe=2))


def lines(folder, name):
    (path,) = Path(folder).rglob(f'{name}.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def drawn(*steps, **options):
    return dict(type='DrawnData', pipeline=[dict(type='DrawScene'), *steps], **options)


def loader(dataset, **options):
    return dict(
        dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True)),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dataset,
        **options,
    )


# -- pipelines that keep pictures, and hooks that exchange them ------------------------------------

SIZE = dict(img_scale=(64, 64))
RTMDET = dict(
    train_dataloader=loader(
        drawn(
            dict(type='mmdet.CachedMosaic', pad_val=114.0, max_cached_images=6, **SIZE),
            RESIZE,
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='mmdet.CachedMixUp', max_cached_images=4, ratio_range=(1.0, 1.0), **SIZE),
            PACK,
        )
    ),
    hooks=[
        dict(
            type='mmdet.PipelineSwitchHook',
            switch_epoch=1,
            switch_pipeline=[dict(type='DrawScene'), RESIZE, PACK],
        )
    ],
)
YOLOX = dict(
    train_dataloader=loader(
        dict(
            type='mmdet.MultiImageMixDataset',
            dataset=drawn(),
            pipeline=[
                dict(type='mmdet.Mosaic', pad_val=114.0, **SIZE),
                dict(type='mmdet.RandomAffine', border=(-32, -32)),
                dict(type='mmdet.MixUp', ratio_range=(0.8, 1.6), **SIZE),
                RESIZE,
                PACK,
            ],
        )
    ),
    hooks=[
        dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=1),
        dict(type='EMAHook', momentum=0.1, update_buffers=True),
    ],
)
# As YOLOX has it: the last size drawn is kept in the data preprocessor.
SIZES = dict(
    type='mmdet.BatchSyncRandomResize', random_size_range=(32, 96), size_divisor=32, interval=2
)


@pytest.mark.parametrize('kind', (RTMDET, YOLOX), ids=('rtmdet', 'yolox'))
def test_a_run_that_is_watched_is_the_same_run(kind, tmp_path):
    model = rig.detector()
    model['data_preprocessor'].update(batch_augments=[SIZES])
    options = dict(kind, model=model, epochs=3)
    hooks = [PROBE, *options.pop('hooks')]
    theirs = rig.train(tmp_path / 'plain', hooks=hooks, **options)
    ours = rig.train(tmp_path / 'watched', hooks=[*hooks, DRIFT, EIGEN, EWC], **options)
    assert ours.losses == theirs.losses
    assert not rig.equal(ours.states[-1], theirs.states[-1])
    assert list((tmp_path / 'watched').glob('importance-*'))
    # Frozen for two epochs, between which the pipeline is exchanged: it spans the same.
    spectra = [line['layers'] for line in lines(tmp_path / 'watched', 'eigen')]
    for name in (f'backbone.stage{i}' for i in range(1, 5)):
        assert spectra[0][name] == spectra[1][name] == spectra[2][name] != spectra[3][name]
    similar = [line['cka'] for line in lines(tmp_path / 'watched', 'drift')]
    assert similar[0] == similar[1] != similar[2]
    # And it is the same whoever loads the run's images.
    options['train_dataloader'] = dict(kind['train_dataloader'], num_workers=1)
    rig.train(tmp_path / 'workers', hooks=[*hooks, EIGEN], **dict(options, epochs=1))
    for line in lines(tmp_path / 'workers', 'eigen'):
        for name in (f'backbone.stage{i}' for i in range(1, 5)):
            assert line['layers'][name] == spectra[0][name]


# -- what a detector keeps in itself ---------------------------------------------------------------


@HOOKS.register_module(force=True)
class Histories(Hook):
    """What Dynamic R-CNN and a message hub know before each step."""

    priority = 'LOWEST'
    seen = ()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        head = runner.model.roi_head
        kept = head.iou_history, head.beta_history, head.bbox_assigner.pos_iou_thr
        scalars = {k: v._log_history.tolist() for k, v in runner.message_hub.log_scalars.items()}
        self.seen += (json.dumps([*kept, scalars.get('train/of_forward')]),)


def dynamic(monkeypatch):
    from mmdet.models.roi_heads import DynamicRoIHead
    from mmengine.logging import MessageHub

    forward = DynamicRoIHead.loss

    def loss(self, *args):
        MessageHub.get_current_instance().update_scalar('train/of_forward', 1.0)
        return forward(self, *args)

    monkeypatch.setattr(DynamicRoIHead, 'loss', loss)
    model = rig.detector('faster-rcnn')
    model['roi_head'].update(type='DynamicRoIHead')
    model['train_cfg']['rcnn'].update(
        dynamic_rcnn=dict(
            iou_topk=75, beta_topk=10, update_iter_interval=2, initial_iou=0.4, initial_beta=1.0
        )
    )
    model['roi_head']['bbox_head']['loss_bbox'].update(type='SmoothL1Loss', beta=1.0)
    return model


@pytest.mark.parametrize('hook', (dict(EWC, importance='fisher'), EIGEN), ids=('fisher', 'eigen'))
def test_histories_of_a_detector_are_its_own(hook, monkeypatch, tmp_path):
    model = dynamic(monkeypatch)
    seen = []
    for name, hooks in dict(plain=[], watched=[hook]).items():
        hooks = [*hooks, dict(type='Histories')]
        run = rig.runner(tmp_path / name, hooks=hooks, model=model, epochs=1)
        run.train()
        seen.append(next(h.seen for h in run.hooks if isinstance(h, Histories)))
    assert seen[0] == seen[1] and len(set(seen[0])) == 4


# -- runs that end early ---------------------------------------------------------------------------


@HOOKS.register_module(force=True)
class StopAt(Hook):
    """Stops a run as EarlyStoppingHook does."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.train_loop.stop_training = True


@pytest.mark.parametrize(
    'loop, stop, wanted',
    [
        (dict(epochs=9), 8, [(2, 8)]),
        (dict(epochs=9), 12, [(3, 12)]),  # measured already
        (dict(iters=20), 6, [(1, 6)]),
    ],
)
def test_the_last_epoch_of_a_run_that_is_stopped_is_measured(loop, stop, wanted, tmp_path):
    hooks = [dict(DRIFT, interval=3), dict(EIGEN, interval=3), dict(type='StopAt', iteration=stop)]
    rig.train(tmp_path, hooks=hooks, **loop)
    drift, eigen = (
        [(d['epoch'], d['iter']) for d in lines(tmp_path, name)] for name in ('drift', 'eigen')
    )
    assert drift == wanted and eigen == [(0, 0), *wanted]


# -- semi-supervised detectors ---------------------------------------------------------------------


def branches():
    fields = ['sup', 'unsup_teacher', 'unsup_student']
    pack = dict(PACK, meta_keys=('img_id', 'ori_shape', 'img_shape', 'homography_matrix'))
    both = [RESIZE, pack]
    kinds = dict(sup=both), dict(unsup_teacher=both, unsup_student=both)
    datasets = [
        drawn(dict(type='mmdet.MultiBranch', branch_field=fields, **kind)) for kind in kinds
    ]
    sampler = dict(type='mmdet.GroupMultiSourceSampler', batch_size=2, source_ratio=[1, 1])
    return loader(dict(type='ConcatDataset', datasets=datasets), sampler=sampler)


def test_the_student_of_a_semi_supervised_detector(tmp_path):
    student = 'student.backbone'
    probe = dict(type='ProbeThenFinetune', probe=2, by_epoch=False)
    hooks = [
        dict(DRIFT, target=student),
        EIGEN,
        dict(EWC, importance='fisher', target=student),
        dict(type='FreezingSchedulerHook', schedule=probe, target=student),
        dict(type='TrainingCostHook'),
        dict(type='mmdet.MeanTeacherHook'),
    ]
    loading = branches()
    rig.train(tmp_path, hooks=hooks, model=rig.semi_supervised(), train_dataloader=loading, iters=4)
    (found,) = lines(tmp_path, 'drift')
    assert found['network'] > 0 and set(found['cka']) == {f'stage{i}' for i in range(1, 5)}
    start, end = (line['layers'] for line in lines(tmp_path, 'eigen'))
    stages = [f'{student}.stage{i}' for i in range(1, 5)]
    assert [name for name in start if name.startswith(student)] == stages
    assert start[f'{student}.stage4'] != end[f'{student}.stage4']
    assert len(list(tmp_path.glob('importance-fisher-*'))) == 1
    assert json.loads((tmp_path / 'cost.json').read_text())['notes'] == []


def test_single_images_without_a_loss_are_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.delattr('mmdet.models.SemiBaseDetector.loss_by_gt_instances')
    schedule = dict(type='ProbeThenFinetune', probe=2, by_epoch=False)
    student = dict(target='student.backbone')
    hooks = [
        dict(type='FreezingSchedulerHook', schedule=schedule, **student),
        dict(EWC, importance='fisher', **student),
    ]
    model = rig.semi_supervised()
    with pytest.raises(ValueError, match="SemiBaseDetector .* no 'loss_by_gt_instances'"):
        rig.train(tmp_path, hooks=hooks, model=model, train_dataloader=branches(), iters=4)


def test_passes_of_other_hooks_are_not_in_its_costs(tmp_path):
    """Whichever of the two hooks comes first."""
    schedule = dict(type='ProbeThenFinetune', probe=2, by_epoch=False)
    freeze, cost = (
        dict(type='FreezingSchedulerHook', schedule=schedule),
        dict(type='TrainingCostHook'),
    )
    found = []
    for name, hooks in dict(first=[cost, EWC], last=[EWC, cost]).items():
        rig.train(tmp_path / name, hooks=[freeze, *hooks], iters=4)
        phases = json.loads((tmp_path / name / 'cost.json').read_text())['phases']
        found.append({n: (p['counted'], p['batches']) for n, p in phases.items()})
    assert found[0] == found[1]
