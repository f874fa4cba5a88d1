"""Trainings that are killed at random instants, resumed, and compared with uninterrupted ones."""

import random
import signal
from pathlib import Path

import cv2
import kills
import numpy as np
import pytest
import rig

from mmbackbone_plugins.freezing.feature_store import _content
from mmbackbone_plugins.lab.resume import defect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 5  # of a training; each resumes what the one before has left
STEPS = 18  # of a training; an epoch has 3
RANDOM, EMA = dict(type='RandomStateHook'), dict(type='EMAHook')
RGN = dict(type='RGNHook', interval=1)
BUDGETED = dict(type='BudgetedFreezing', budget=0.8, num_batches=1)
BUDGET = dict(type='FreezingSchedulerHook', schedule=BUDGETED)
RATES = dict(type='RGNLearningRateHook', num_batches=1)
DRIFT = dict(type='DriftHook', num_images=0)
BY_STAGE = dict(constructor='StageOptimWrapperConstructor')
ACCUMULATING = dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0))
BY_ITER = rig.dbf(4, by_epoch=False)


def held(importance):
    return dict(type='DistortionRegularizerHook', importance=importance, coeff=0.1, num_batches=3)


def projected(kind):
    return dict(type='WeightProjectionHook', kind=kind)


def case(ranks, loop, *hooks, workers=0, **options):
    length = dict(epochs=STEPS // 3) if loop == 'epochs' else dict(iters=STEPS)
    return ranks, dict(length, hooks=[RANDOM, *hooks], workers=workers, **options)


CASES = {
    'dbf-rgn': case(1, 'epochs', rig.dbf(2), RGN),
    'dbf-ema-1worker': case(1, 'epochs', rig.dbf(2), EMA, workers=1),
    'ewc-rgn-2workers': case(1, 'epochs', held('ewc'), RGN, workers=2),
    'budget-2persistent': case(1, 'epochs', BUDGET, workers=2, persistent=True),
    'spd-drift': case(1, 'epochs', projected('spd'), DRIFT, optimizer=rig.ADAMW),
    'dbf-rgn-held-ema-2ranks': case(2, 'epochs', rig.dbf(2), RGN, held('rgn'), EMA),
    'budget-1worker-2ranks': case(2, 'epochs', BUDGET, workers=1),
    'rates-2workers-2ranks': case(2, 'epochs', RATES, workers=2, wrapper=BY_STAGE),
    'iters-dbf-rgn-ema': case(1, 'iters', BY_ITER, RGN, EMA),
    'iters-fisher-1worker': case(1, 'iters', held('fisher'), workers=1),
    # Gradients of a window that is open are in no checkpoint.
    'iters-ftp-2persistent-accumulating': case(
        1, 'iters', projected('ftp'), workers=2, persistent=True, interval=2, wrapper=ACCUMULATING
    ),
    'iters-dbf-ewc-1worker-2ranks': case(2, 'iters', BY_ITER, held('ewc'), workers=1),
    # Nothing random, so no RandomStateHook either: the epoch is done again.
    'detector': (
        1,
        dict(
            model=rig.detector(),
            epochs=6,
            hooks=[rig.dbf(3, reset_optimizer_state='all'), RGN],
            optimizer=rig.ADAMW,
            wrapper=ACCUMULATING,
        ),
    ),
}
# Where a training is killed, and the how manieth time: files are left torn.
WITHIN = {
    'iter_9.pth': (1, [rig.dbf(2), RGN]),
    'last_checkpoint': (8, [rig.dbf(2), RGN]),
    'rgn.jsonl': (5, [rig.dbf(2), RGN]),
    'decisions.jsonl': (3, [BUDGET]),
    'importance': (2, [held('ewc'), RGN]),  # the estimate
    'importance-ewc': (1, [held('ewc'), RGN]),  # its file
}


def by_epoch(options):
    """Whether checkpoints are those of epochs, of which one has four steps."""
    return 'model' in options and 'iters' not in options


def finished(folder, ranks, options, reference=None):
    """Ends what was killed, and compares it with an uninterrupted training."""
    whole, cut = folder / 'whole', folder / 'cut'
    for work_dir, asked in ((cut, options), (whole, reference or options)):
        kills.wait(kills.start(work_dir, ranks, asked), work_dir)
    steps, every = (24, 4) if by_epoch(options) else (STEPS, options.get('interval', 1))
    names = [path.name for path in whole.glob('*_*.pth') if path.stem.split('_')[0] in NAMES]
    assert len(names) == -(-steps // every)
    # One that a kill has torn, and that the resumed run had no need of, stays torn.
    intact = [name for name in names if defect(cut / name) is None]
    assert len(intact) > len(names) - KILLS
    for name in intact:
        differ = kills.differences(kills.content(cut / name), kills.content(whole / name))
        assert not differ, f'{name}: {len(differ)} differ, the first: {differ[:3]}'
    records = kills.records(whole)
    assert kills.records(cut) == records
    return records


NAMES = ('epoch', 'iter')


def kill(name, folder, ranks, options):
    """Kills a training at random instants; each resumes what the one before has left."""
    dice = random.Random(name)
    every, kind = options.get('interval', 1), 'epoch' if by_epoch(options) else 'iter'
    last = 4 if by_epoch(options) else STEPS - 6
    for at in sorted(dice.choices(range(every, last, every), k=KILLS)):
        checkpoint = f'{kind}_{at}.pth'
        assert kills.kill_at_random(folder / 'cut', ranks, options, dice, checkpoint)


@pytest.mark.parametrize('name', CASES)
def test_killed_at_random(name, tmp_path):
    ranks, options = CASES[name]
    kill(name, tmp_path, ranks, options)
    records = finished(tmp_path, ranks, options)
    assert bool(records) == any(hook in options['hooks'] for hook in (RGN, BUDGET, RATES, DRIFT))


FLIPPED = [
    dict(type='DrawScene'),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs'),
]
FROZEN = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
CACHED = {  # ranks, workers, length, hooks
    'cached': (1, 0, dict(epochs=6), [FROZEN]),
    'cached-dbf-1worker': (1, 1, dict(epochs=6), [rig.dbf(4)]),
    'cached-2ranks': (2, 0, dict(epochs=6), [FROZEN]),
    'cached-iters-2workers': (1, 2, dict(iters=STEPS), [FROZEN, RANDOM]),
}


@pytest.mark.parametrize('name', CACHED)
def test_a_feature_cache_killed_at_random(name, tmp_path):
    """Against a training that keeps nothing; at last with one that dies while it writes a file."""
    ranks, workers, length, hooks = CACHED[name]
    loader = dict(
        batch_size=2,
        num_workers=workers,
        sampler=dict(type='InfiniteSampler' if 'iters' in length else 'DefaultSampler'),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dict(type='DrawnData', pipeline=FLIPPED),
    )

    def options(**storage):
        cache = dict(type='FeatureCacheHook', views=2, **storage)
        return dict(length, model=rig.detector(), hooks=[*hooks, cache], train_dataloader=loader)

    folder = tmp_path / 'features'
    cached = options(storage='disk', folder=str(folder))
    started = kills.start(tmp_path / 'cut', ranks, cached, ('1-0-', 1))
    started[0].join(120)
    kills.end(started)
    assert started[0].exitcode == -signal.SIGKILL
    assert [path.read_bytes() for path in folder.rglob('*.new')] == [kills.TORN]
    kill(name, tmp_path, ranks, cached)
    finished(tmp_path, ranks, cached, options(storage=None))
    kept = list(folder.rglob('*.features'))
    assert len(kept) == 12 * (FROZEN in hooks)  # else of weights that this run alone had
    assert all(_content(str(path), check=True) for path in kept)


def segmentor(folder):
    """A training of MMSegmentation: its data set and random steps, drop path and dropout."""
    noise = np.random.default_rng(0)
    for i, kind in ((i, kind) for i in range(6) for kind in ('images', 'labels')):
        shape, values = ((72, 64), 3) if kind == 'labels' else ((72, 64, 3), 256)
        path = folder / kind / f'{i}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), noise.integers(0, values, shape, np.uint8))
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=(72, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackSegInputs'),
    ]
    data = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=steps,
    )
    head = dict(
        type='UPerHead',
        in_channels=rig.CHANNELS,
        in_index=[0, 1, 2, 3],
        channels=16,
        num_classes=3,
        norm_cfg=dict(type='BN'),
    )
    return dict(
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
            backbone=dict(rig.swin(), type='SwinTransformer'),
            decode_head=head,
            test_cfg=dict(mode='whole'),
        ),
        iters=STEPS,
        hooks=[RANDOM, BY_ITER, RGN],
        optimizer=rig.ADAMW,
        default_scope='mmseg',
        train_dataloader=dict(
            batch_size=2,
            num_workers=1,
            sampler=dict(type='InfiniteSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
            dataset=data,
        ),
    )


def test_a_segmentor_killed_at_random(tmp_path, monkeypatch):
    pytest.importorskip('mmseg')
    monkeypatch.setitem(CASES, 'segmentor', (1, segmentor(tmp_path)))
    test_killed_at_random('segmentor', tmp_path)


@pytest.mark.parametrize('name', WITHIN)
def test_killed_within(name, tmp_path):
    nth, hooks = WITHIN[name]
    ranks, options = case(1, 'epochs', *hooks)
    (process,) = kills.start(tmp_path / 'cut', 1, options, (name, nth))
    process.join(120)
    assert process.exitcode == -9
    assert finished(tmp_path, ranks, options)


def ends(folder, ranks, options, code, *ask):
    """What a training says that is asked to end, and the checkpoint it leaves."""
    hooks = [*options['hooks'], dict(zip(('type', 'name', 'at', 'full'), ('Ask', *ask)))]
    started = kills.start(folder, ranks, dict(options, hooks=hooks))
    return kills.wait(started, folder, code), Path(kills.last_checkpoint(str(folder))[0]).name


ASKED = {
    'SIGTERM': case(1, 'epochs', rig.dbf(2), RGN, EMA, interval=5),
    'SIGUSR1': case(2, 'epochs', rig.dbf(2), RGN, workers=1, interval=5),
    'SIGUSR2': case(1, 'iters', BY_ITER, workers=2, persistent=True, interval=5),
    'SIGHUP': case(1, 'iters', interval=4, wrapper=ACCUMULATING),
}


@pytest.mark.parametrize('name', ASKED)
def test_asked_to_end(name, tmp_path):
    """The iteration is finished (a window of accumulation, too), and has a checkpoint."""
    ranks, options = ASKED[name]
    code = 128 + signal.Signals[name]
    said, last = ends(tmp_path / 'cut', ranks, options, code, name, 6)
    assert last == ('iter_8.pth' if 'wrapper' in options else 'iter_7.pth')
    assert said.count(f'rank 0 was asked to end ({name})') == 1 and 'lost touch' not in said
    assert f'last checkpoint: {tmp_path}/cut/{last}' in said
    finished(tmp_path, ranks, options)


def test_asked_to_end_where_an_epoch_cannot_be_resumed(tmp_path):
    ranks, options = CASES['detector']
    said, last = ends(tmp_path / 'cut', 1, options, 138, 'SIGUSR1', 9)
    assert last == 'epoch_2.pth' and 'without RandomStateHook' in said
    said, last = ends(tmp_path / 'cut', 1, options, 138, 'SIGUSR1', 11)
    assert last == 'epoch_3.pth'  # its last iteration
    finished(tmp_path, ranks, options)


@pytest.mark.parametrize('name, code', [('SIGUSR1', 138), ('', 1)])
def test_a_full_disk_keeps_the_last_good_checkpoint(name, code, tmp_path):
    """In the write at a signal, and in one of mmengine's, which leaves half of a file."""
    ranks, options = case(1, 'epochs', rig.dbf(2), RGN, interval=4 if name else 1)
    said, last = ends(tmp_path / 'cut', ranks, options, code, name, 5, True)
    assert 'File too large' in said and last == ('iter_4.pth' if name else 'iter_5.pth')
    finished(tmp_path, ranks, options)
