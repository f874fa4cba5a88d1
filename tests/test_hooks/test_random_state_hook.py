"""Runs that draw random numbers everywhere, stopped and resumed against left alone."""

import random
from itertools import product

import numpy as np
import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS, HOOKS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, Dataset, RandomSampler, get_worker_info

from mmbackbone_plugins.hooks.random_state_hook import RandomStateHook


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Workers that were left in the middle are joined for 5 s before they are ended."""
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)


class Noisy(Dataset):
    """Fourteen samples, each with numbers of all three generators."""

    metainfo: dict = {}

    def __len__(self):
        return 14

    def __getitem__(self, index):
        draws = [random.random(), np.random.rand(), torch.rand(()).item()]
        worker = get_worker_info()
        return dict(
            inputs=torch.tensor([float(index), *draws]), worker=-1 if worker is None else worker.id
        )


class Net(BaseModel):
    """Three layers with dropout; what every step saw is kept."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )
        self.seen = []

    def forward(self, inputs, worker, mode='loss'):
        inputs = torch.stack(list(inputs))
        self.seen.append(inputs)
        noise = random.random() + float(np.random.rand())
        return dict(loss=self.layers(inputs).square().mean() * noise)


@DATA_SAMPLERS.register_module()
class TorchRandom(RandomSampler):
    """torch's own, which draws its seed from the global random numbers."""

    def __init__(self, dataset, seed=None):
        super().__init__(dataset)


@DATA_SAMPLERS.register_module()
class Growing(BatchSampler):
    """Batches of 1, 2, 3, ... samples: more of them than its length says would be fewer."""

    def __init__(self, sampler, batch_size, drop_last):
        super().__init__(sampler, batch_size, drop_last)

    def __iter__(self):
        rest, size = list(self.sampler), 0
        while rest:
            size = size % 3 + 1
            yield rest[:size]
            rest = rest[size:]


@HOOKS.register_module()
class Stop(Hook):
    """Ends the training after an iteration, and after its checkpoint."""

    priority = 'LOWEST'

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            raise KeyboardInterrupt


def run(folder, stop=None, resume=False, hook=True, **options):
    settings = dict(loop='epoch', sampler='DefaultSampler', workers=0, persistent=False, seed=3)
    batches = options.pop('batch_sampler', None)
    settings.update(options)
    epochs = settings['loop'] == 'epoch'
    loader = dict(
        dataset=Noisy(),
        sampler=dict(type=settings['sampler']),
        num_workers=settings['workers'],
        persistent_workers=settings['persistent'],
        collate_fn=dict(type='pseudo_collate'),
        batch_size=4,
    )
    if batches:
        loader['batch_sampler'] = dict(type=batches, batch_size=4, drop_last=False)
    torch.manual_seed(0)  # weights, which the runner does not draw
    built = Runner(
        Net(),
        str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=epochs, **({'max_epochs': 3} if epochs else {'max_iters': 12})),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1),
            logger=None,
        ),
        custom_hooks=[
            *([dict(type='RandomStateHook')] if hook else []),
            *([Stop(stop)] if stop else []),
        ],
        randomness=dict(seed=settings['seed']),
        resume=resume,
        experiment_name=f'{folder.name}-{stop}-{resume}',
        log_level='WARNING',
    )
    try:
        built.train()
    except KeyboardInterrupt:
        assert stop
    return built.model


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


LOOPS = [
    dict(loop=loop, sampler=sampler, workers=workers, persistent=persistent)
    for (loop, sampler), (workers, persistent) in zip(
        product(('epoch', 'iter'), ('DefaultSampler', 'InfiniteSampler', 'TorchRandom')),
        [(0, False), (0, False), (2, True), (1, False), (2, True), (0, False)],
    )
    if (loop, sampler) != ('epoch', 'InfiniteSampler')
]


@pytest.mark.parametrize('settings', LOOPS, ids=lambda s: '-'.join(map(str, s.values())))
def test_resumed_equals_uninterrupted(settings, tmp_path):
    whole = run(tmp_path / 'whole', **settings)
    for stop in (4, 6):  # at the end of an epoch, and in the middle of the next
        folder = tmp_path / f'cut{stop}'
        first = run(folder, stop=stop, **settings)
        second = run(folder, resume=True, **settings)
        assert len(first.seen) == stop and len(first.seen + second.seen) == len(whole.seen)
        assert all(map(torch.equal, first.seen + second.seen, whole.seen))
        assert same(second, whole)


def test_without_the_hook_they_differ(tmp_path):
    whole = run(tmp_path / 'whole', hook=False)
    run(tmp_path / 'cut', stop=4, hook=False)
    assert not same(run(tmp_path / 'cut', resume=True, hook=False), whole)


def test_batches_of_changing_size(tmp_path):
    whole = run(tmp_path / 'whole', batch_sampler='Growing')
    assert len(whole.seen) == 3 * 8  # its length says 4 a pass
    run(tmp_path / 'cut', stop=10, batch_sampler='Growing')
    assert same(run(tmp_path / 'cut', resume=True, batch_sampler='Growing'), whole)


def test_the_number_of_workers_does_not_matter(tmp_path):
    one, other = run(tmp_path / 'a', workers=2), run(tmp_path / 'b', workers=0)
    assert all(map(torch.equal, one.seen, other.seen)) and same(one, other)


def test_no_augmentation_comes_twice(tmp_path):
    """As they do without the hook from workers that are started anew each epoch."""

    def draws(hook):
        model = run(tmp_path / str(hook), workers=1, hook=hook)
        found = torch.cat(model.seen)
        return len(found), len({tuple(row.tolist()) for row in found[:, 1:]})

    assert draws(True) == (42, 42)
    assert draws(False) == (42, 14)


def test_seeds_and_ranks_draw_other_numbers(tmp_path, monkeypatch):
    def first(name, seed=3, rank=0):
        monkeypatch.setattr('mmbackbone_plugins.hooks.random_state_hook.get_rank', lambda: rank)
        return run(tmp_path / name, seed=seed, stop=1).seen[0][:, 1]

    assert torch.equal(first('a'), first('b'))
    assert not torch.equal(first('c'), first('d', seed=4))
    assert not torch.equal(first('e'), first('f', rank=1))


def test_a_seed_that_was_drawn_is_kept(tmp_path):
    whole = run(tmp_path / 'cut', stop=6, seed=None).seen
    rest = run(tmp_path / 'cut', resume=True, seed=None).seen
    passed = [row[0].item() for batch in (whole + rest)[4:8] for row in batch]
    assert sorted(passed) == list(range(14))


def test_the_loader_is_left_as_it_was(tmp_path, monkeypatch):
    loaders = []
    before = RandomStateHook.before_train

    def note(self, runner):
        loader = runner.train_dataloader
        loaders.append((loader, loader.dataset, loader.batch_sampler))
        before(self, runner)
        assert len(loader.dataset) == 14 and loader.dataset.metainfo == {}
        loader.dataset.mark = 1
        assert loaders[0][1].mark == 1

    monkeypatch.setattr(RandomStateHook, 'before_train', note)
    run(tmp_path / 'run')
    loader, dataset, batches = loaders[0]
    assert loader.dataset is dataset and loader.batch_sampler is batches


def test_what_is_not_as_it_was_is_said(tmp_path, caplog, monkeypatch):
    said = []
    monkeypatch.setattr(RandomStateHook, '_say', staticmethod(said.append))
    run(tmp_path / 'a', stop=2, hook=False)
    run(tmp_path / 'a', resume=True, stop=3)
    assert 'written without this hook' in said.pop() and not said
    monkeypatch.setattr('mmbackbone_plugins.hooks.random_state_hook.get_world_size', lambda: 2)
    run(tmp_path / 'a', resume=True)
    assert 'had processes = 1, this one has 2' in said.pop() and not said


def test_hidden_state_is_named(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(RandomStateHook, '_say', staticmethod(said.append))
    monkeypatch.setattr(Noisy, '__init__', lambda self: setattr(self, 'own', random.Random(0)))
    run(tmp_path / 'run', stop=1)
    assert len(said) == 1 and 'Noisy (own)' in said[0]


MOSAIC = [
    dict(type='DrawScene'),
    dict(type='mmdet.Mosaic', img_scale=(64, 64), pad_val=114.0),
    dict(type='mmdet.RandomAffine', scaling_ratio_range=(0.5, 1.5), border=(-32, -32)),
    dict(type='mmdet.MixUp', img_scale=(64, 64), pad_val=114.0),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.Resize', scale=(64, 64), keep_ratio=False),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_shape', 'ori_shape', 'scale_factor')),
]


def test_a_detector_with_mosaics_drop_path_and_freezing(tmp_path):
    """Faster R-CNN samples its boxes at random; EMA, freezing and theta0 go on as well."""
    drawn = dict(type='DrawnData', pipeline=MOSAIC[:1], lazy_init=False)
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dict(type='mmdet.MultiImageMixDataset', dataset=drawn, pipeline=MOSAIC[1:]),
    )
    hooks = [
        dict(type='RandomStateHook'),
        rig.dbf(2),
        dict(type='DistortionRegularizerHook', importance='uniform', coeff=0.1),
        dict(type='EMAHook'),
    ]

    def train(folder, at=None, **options):
        built = rig.runner(
            folder,
            hooks=[*hooks, *([dict(type='Stop', at=at)] if at else [])],
            model=rig.detector('faster-rcnn', rig.swin()),
            epochs=3,
            optimizer=rig.ADAMW,
            train_dataloader=loader,
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1), logger=None
            ),
            **options,
        )
        try:
            built.train()
        except KeyboardInterrupt:
            assert at
        return built

    whole = train(tmp_path / 'whole')
    train(tmp_path / 'cut', at=4)  # the first of three steps of the second epoch
    rest = train(tmp_path / 'cut', resume=True)
    assert len(rig.recorder(rest).losses) == 5
    assert not rig.equal(rig.model_of(rest).state_dict(), rig.model_of(whole).state_dict())
    kept = [torch.load(tmp_path / f / 'iter_9.pth', weights_only=False) for f in ('whole', 'cut')]
    assert not rig.equal(kept[0]['ema_state_dict'], kept[1]['ema_state_dict'])
