"""Runs that read features against runs on the same views that compute all of them."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
import rig
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
from torch import nn

from mmbackbone_plugins.freezing import feature_cache, feature_store
from mmbackbone_plugins.hooks.feature_cache_hook import FeatureCacheHook

FROZEN = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
RANDOM = dict(type='RandomStateHook')
FLIP = [
    dict(type='DrawScene'),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_shape', 'ori_shape')),
]
TO_ROTATED = dict(type='mmrotate.ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox'))
ROTATED = [FLIP[0], FLIP[1], TO_ROTATED, FLIP[2]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Workers that were left in the middle are joined for 5 s before they are ended.

    What is faster on so small a model is chance, so nobody asks.
    """
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)
    monkeypatch.setattr(feature_cache, '_TRIED', 10**9)


class Maps(nn.Sequential):
    """Three stages with norms, which are the outputs."""

    def __init__(self):
        super().__init__(*(self.stage(a, b) for a, b in ((3, 4), (4, 8), (8, 8))))

    @staticmethod
    def stage(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())

    def forward(self, images):
        found = [self[0](images)]
        for stage in list(self)[1:]:
            found.append(stage(found[-1]))
        return tuple(found)


@MODELS.register_module(force=True)
class Light(BaseModel):
    """A head with dropout on the last two outputs; ``odd`` breaks what a cache asks of a model."""

    def __init__(self, odd=''):
        super().__init__()
        self.backbone, self.odd = Maps(), odd
        self.head = nn.Sequential(nn.Dropout(0.3 * (odd != 'no dropout')), nn.Linear(16, 1))
        if odd == 'strided':
            self.backbone[2][0].stride = (1, 1)
        if odd == 'no backbone':
            self.trunk, self.backbone = self.backbone, None

    def forward(self, inputs, data_samples=None, mode='tensor'):
        images = torch.stack(list(inputs)).float() / 255
        if self.odd == 'one by one':
            maps = [torch.cat(m) for m in zip(*(self.backbone(i[None]) for i in images))]
        else:
            maps = self.backbone(images)
        if self.odd == 'twice':
            maps = self.backbone(images)
        pooled = torch.cat([m.mean((2, 3)) for m in maps[1:]], 1)
        boxes = [s.gt_instances.bboxes for s in data_samples]
        wanted = torch.stack([getattr(b, 'tensor', b).sum() / 500 for b in boxes])
        return dict(loss=(self.head(pooled)[:, 0] - wanted).square().mean())


@HOOKS.register_module(force=True)
class Watch(Hook):
    """Counts the images that go through the backbone's first layer in each training step."""

    priority = 'LOWEST'

    def before_train(self, runner):
        model = rig.model_of(runner)
        layer = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
        layer.register_forward_pre_hook(lambda m, args: self.passed.append(len(args[0])))
        self.cache = next((h for h in runner.hooks if isinstance(h, FeatureCacheHook)), None)
        self.steps, self.read, self.passed, self.images = [], [], [], {}
        loader = runner.train_dataloader
        self.parts = loader.dataset, loader.batch_sampler

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.passed.clear()
        self.read.append(self.cache.images_read if self.cache else 0)
        self.images = self.cache.cache.images if self.cache else {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append(sum(self.passed))


@HOOKS.register_module(force=True)
class Parts(Hook):
    """The loader as it was before anything was changed."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        loader = runner.train_dataloader
        self.before = loader.dataset, loader.batch_sampler


LIGHT = dict(type='Light')


def data(pipeline=FLIP, workers=0, batch=2, **options):
    return dict(
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 1,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dict(type='DrawnData', pipeline=pipeline),
        **options,
    )


def built(folder, storage='ram', model=LIGHT, hooks=(FROZEN,), loader=None, **options):
    """A run with a cache; ``storage`` is that, or all of its arguments."""
    cache = storage if isinstance(storage, dict) else dict(storage=storage)
    quiet = dict(checkpoint=None, logger=None)
    usual = dict(epochs=3, train_dataloader=loader or data(), default_hooks=quiet)
    options = dict(usual, **options)
    own = [dict(dict(type='FeatureCacheHook', views=2), **cache)] if storage != 'plain' else []
    own += [dict(type='Watch'), dict(type='Parts')]
    return rig.runner(folder, hooks=[*hooks, *own], model=model, **options)


def train(*args, **options):
    """What a run has recorded, said and counted."""
    runner = built(*args, **options)
    said = rig.listen_to(runner)
    runner.train()
    record = rig.recorder(runner)
    watch = next(h for h in runner.hooks if isinstance(h, Watch))
    model = rig.model_of(runner)
    assert not any('forward' in vars(m) for m in model.modules())
    assert all(torch.isfinite(v.float()).all() for v in record.per_iter[-1].values())
    said = [text for text in said if text.startswith('FeatureCacheHook')]
    return SimpleNamespace(
        runner=runner, losses=record.losses, states=record.per_iter, said=said, **vars(watch)
    )


def same(a, b):
    """Whether losses, and weights after every step, are equal bit for bit."""
    assert len(a.losses) == len(b.losses) == len(a.states) == len(b.states)
    return a.losses == b.losses and not any(map(rig.equal, a.states, b.states))


MODELS_ = {
    'light-0-ram': dict(loader=data(batch=4)),
    'light-2-disk': dict(loader=data(workers=2, batch=5)),  # the last batch has one image
    'amp-0-disk': dict(wrapper=dict(type='CpuAmpOptimWrapper')),
    'faster-rcnn-0-ram': dict(model='faster-rcnn'),
    'oriented-rcnn-2-disk': dict(model='oriented-rcnn', loader=data(ROTATED, 2)),
}


@pytest.mark.parametrize('name', MODELS_)
def test_equals_the_reference_and_computes_every_view_once(name, tmp_path):
    options = dict(MODELS_[name])
    if 'model' in options:
        options['model'] = rig.detector(options['model'])
    storages = (None, name.split('-')[-1])
    reference, run = (train(tmp_path / str(s), s, **options) for s in storages)
    assert same(run, reference)
    steps = len(reference.steps) // 3
    assert sum(reference.steps[:steps]) == sum(reference.steps[2 * steps :]) > 0
    assert run.steps[: 2 * steps] == reference.steps[: 2 * steps]
    assert run.steps[2 * steps :] == [0] * steps and sum(run.read) == 6
    assert run.images == dict(computed=12, read=6)
    assert '12 views computed, 6 read' in run.said[-1] and len(run.said) == 2
    assert not (tmp_path / 'disk' / 'feature_cache').exists()
    if name == 'light-0-ram':
        # Views differ, and come again; the losses of an epoch are summed up in another order.
        still = dict(optimizer=dict(type='SGD', lr=0.0), loader=data(batch=6), epochs=4)
        model = dict(LIGHT, odd='no dropout')
        two, one = (
            torch.tensor(train(tmp_path / f'{n}', dict(views=n), model, **still).losses)
            for n in (2, 1)
        )
        assert two[:2].allclose(two[2:]) and one.allclose(two[0]) and abs(two[0] - two[1]) > 1e-3


@pytest.mark.parametrize('own', [False, True], ids=['schedule', 'frozen_stages'])
def test_without_random_numbers_it_equals_a_run_without_the_hook(own, tmp_path):
    options = dict(model=rig.detector(), loader=data([FLIP[0], FLIP[2]]))
    if own:  # frozen by MMDetection, from which no hook has to know it
        options.update(model=rig.detector(backbone=rig.resnet(frozen_stages=4)), hooks=[])
    plain = train(tmp_path / 'plain', 'plain', **options)
    cached = train(tmp_path / 'cached', dict(views=1), **options)
    assert same(cached, plain) and cached.images == dict(computed=6, read=12)


@pytest.mark.parametrize('storage', ['ram', 'disk'])
def test_frozen_spans_begin_anew_with_other_weights(storage, tmp_path):
    options = dict(hooks=[rig.dbf(4)], epochs=8)
    reference = train(tmp_path / 'reference', None, **options)
    run = train(tmp_path / 'run', storage, **options)
    assert same(run, reference)
    # Epochs 1 to 3 and 5 to 7 are frozen; 3 and 7 have the view of 1 and 5.
    per_epoch = [sum(run.steps[i : i + 3]) for i in range(0, 24, 3)]
    assert per_epoch == [6, 6, 6, 0, 6, 6, 6, 0]
    assert run.images == dict(computed=24, read=12)


@pytest.mark.parametrize('workers', [0, 2])
def test_one_iteration_of_training_between_frozen_ones(workers, tmp_path):
    """Workers have been told of kept views that are of earlier weights when they are read."""
    schedule = dict(type='MilestoneFreezing', train_epochs=[7], by_epoch=False)
    hooks = [dict(type='FreezingSchedulerHook', schedule=schedule)]
    options = dict(hooks=hooks, iters=18, loader=data(workers=workers))
    disk = dict(views=1, storage='disk', folder=str(tmp_path / 'folder'))
    reference = train(tmp_path / 'reference', dict(views=1, storage=None), **options)
    assert same(train(tmp_path / 'run', disk, **options), reference)
    assert same(train(tmp_path / 'ram', dict(views=1), **options), reference)
    # The features of pretrained weights are there for the next run.
    assert len(list((tmp_path / 'folder').iterdir())) == 1


@pytest.mark.parametrize('loop', ['epochs', 'iters', 'iters-random', 'epochs-random'])
def test_resumed_equals_uninterrupted(loop, tmp_path):
    length = dict(epochs=4) if loop.startswith('epochs') else dict(iters=12)
    hooks = [FROZEN, RANDOM] if 'random' in loop else [FROZEN]
    model = dict(LIGHT, odd='' if 'random' in loop else 'no dropout')
    keep = dict(type='CheckpointHook', interval=1, by_epoch=loop == 'epochs')
    options = dict(length, hooks=hooks, model=model, default_hooks=dict(checkpoint=keep))
    disk = dict(storage='disk', folder=str(tmp_path / 'folder'))
    whole = train(tmp_path / 'whole', None, **options)
    assert same(train(tmp_path / 'cached', 'ram', **options), whole)
    at = 6 if loop == 'epochs' else 7  # in the middle of a pass
    name = 'epoch_2.pth' if loop == 'epochs' else 'iter_7.pth'
    start = dict(load_from=str(tmp_path / 'whole' / name), resume=True)
    for storage in ('ram', disk, disk):
        rest = train(tmp_path / 'rest', storage, **start, **options)
        assert rest.losses == whole.losses[at:]
        assert not any(map(rig.equal, rest.states, whole.states[at:]))
    assert sum(rest.steps) == 0  # the last has read it all


def test_batches_of_read_and_computed_images(tmp_path):
    """A budget of some views, and a loader that shuffles."""
    reference = train(tmp_path / 'reference', None, epochs=6)
    run = train(tmp_path / 'run', dict(budget_gb=1e-4), epochs=6)
    assert same(run, reference)
    assert set(run.read) == {0, 1, 2} and 12 < run.images['computed'] < 36
    assert all(passed in (0, 2) for passed in run.steps)  # one that is alone goes twice
    budget = next(line for line in run.said[0].splitlines() if 'budget' in line)
    assert '0.00 GB' in budget and '% of them' in budget and '100%' not in budget


def test_ranks_share_a_folder(tmp_path):
    options = dict(model=rig.detector(), epochs=3, train_dataloader=data())
    found = {}
    for storage in (None, 'disk'):
        cache = dict(views=2, storage=storage, folder=storage and str(tmp_path / 'folder'))
        hooks = [FROZEN, dict(type='FeatureCacheHook', **cache)]
        found[storage] = rig.run(2, work_dir=str(tmp_path / str(storage)), hooks=hooks, **options)
    for rank, (reference, shared) in enumerate(zip(found[None], found['disk'])):
        assert shared['losses'] == reference['losses']
        assert shared['losses'] != found[None][1 - rank]['losses']
        for states in (reference['states'], shared['states']):
            assert not any(rig.equal(a, b) for a, b in zip(states, found[None][0]['states']))
    (place,) = (tmp_path / 'folder').iterdir()
    assert len(list(place.glob('*.features'))) == len(list(place.iterdir())) == 12


def test_half_precision_is_the_same_from_a_cold_and_a_warm_folder(tmp_path):
    half = dict(storage='disk', folder=str(tmp_path / 'folder'), dtype='bfloat16')
    reference = train(tmp_path / 'reference', dict(storage=None, dtype='bfloat16'))
    cold, warm = (train(tmp_path / name, half) for name in ('cold', 'warm'))
    assert same(cold, reference) and same(warm, reference)
    assert warm.images == dict(computed=0, read=18) and sum(warm.steps) == 0
    full = train(tmp_path / 'full', dict(half, dtype='float32'))
    assert not same(full, reference) and full.images['read'] == 6  # shares nothing with them
    assert torch.tensor(full.losses).allclose(torch.tensor(reference.losses), rtol=0.05)


def test_what_features_depend_on_has_a_folder_of_its_own(tmp_path):
    disk = dict(storage='disk', folder=str(tmp_path / 'folder'))
    first = train(tmp_path / 'first', disk)
    assert first.images['computed'] == 12
    others = dict(
        seed=dict(storage=dict(disk, seed=1)),
        pipeline=dict(loader=data([FLIP[0], dict(FLIP[1], prob=0.4), FLIP[2]])),
        model=dict(model=dict(LIGHT, odd='strided')),  # of the same weights
        weights=dict(seed=1),
        amp=dict(wrapper=dict(type='CpuAmpOptimWrapper')),
    )
    for name, options in others.items():
        run = train(tmp_path / name, **dict(dict(storage=disk), **options))
        assert run.images['computed'] == 12, name
    assert len(list((tmp_path / 'folder').iterdir())) == 1 + len(others)
    options = dict(optimizer=rig.ADAMW, loader=data(workers=1, batch=3))
    again = train(tmp_path / 'again', disk, **options)
    assert again.images == dict(computed=0, read=18)


@pytest.mark.parametrize('workers', [0, 1])
def test_spoiled_and_missing_files_are_made_anew(workers, tmp_path):
    disk = dict(storage='disk', folder=str(tmp_path / 'folder'))
    options = dict(loader=data(workers=workers))
    reference = train(tmp_path / 'reference', None, **options)
    train(tmp_path / 'cold', disk, **options)
    kept = sorted((tmp_path / 'folder').rglob('*.features'))
    before = [feature_store._content(str(path), check=True) for path in kept]
    spoiled = bytearray(kept[2].read_bytes())
    spoiled[-70] ^= 1
    kept[2].unlink()  # what is mapped stays
    kept[2].write_bytes(spoiled)
    torn = kept[5].read_bytes()[:100]
    kept[5].unlink()
    kept[5].write_bytes(torn)
    kept[7].unlink()
    run = train(tmp_path / 'warm', disk, **options)
    assert same(run, reference)
    for path, record in zip(kept, before):
        levels = feature_store._content(str(path), check=True).levels
        assert all(torch.equal(a.tensor(), b.tensor()) for a, b in zip(levels, record.levels))
    assert run.images == dict(computed=3, read=15)
    assert sum('is not whole' in text for text in run.said) == 2


@pytest.mark.slow
def test_two_runs_on_one_folder_at_once(tmp_path):
    disk = dict(storage='disk', folder=str(tmp_path / 'folder'))
    found = {}

    def start(name, **storage):
        hooks = [rig.dbf(3), dict(type='FeatureCacheHook', views=1, **storage)]
        options = dict(model=rig.detector(), epochs=6, train_dataloader=data())
        (found[name],) = rig.run(1, work_dir=str(tmp_path / name), hooks=hooks, **options)

    start('reference', storage=None)
    both = [threading.Thread(target=start, args=(name,), kwargs=disk) for name in ('one', 'two')]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for name in ('one', 'two'):
        assert found[name]['losses'] == found['reference']['losses']
        assert not any(map(rig.equal, found[name]['states'], found['reference']['states']))


@pytest.mark.parametrize('slow', ['reading', 'computing'])
def test_where_reading_is_slower_everything_is_computed(slow, tmp_path, monkeypatch):
    owner, name = dict(
        reading=(feature_store.MemoryStore, 'read'), computing=(feature_cache.FeatureCache, '_keep')
    )[slow]
    usual = getattr(owner, name)

    def slowed(*args):
        time.sleep(0.2)
        return usual(*args)

    monkeypatch.setattr(feature_cache, '_TRIED', 2)
    monkeypatch.setattr(owner, name, slowed)
    reference, run = (train(tmp_path / str(s), s, epochs=4) for s in (None, 'ram'))
    assert same(run, reference)
    lines = [text for text in run.said if 'everything is computed' in text]
    if slow == 'reading':
        assert run.images == dict(computed=20, read=4)
        assert len(lines) == 1 and lines[0].startswith('FeatureCacheHook: reading a batch takes 0.')
    else:
        assert run.images == dict(computed=12, read=12) and not lines


def test_levels_that_nobody_reads_are_not_kept(tmp_path):
    """An FPN with start_level=1 leaves the largest map out, which is half of a view."""
    disk = dict(storage='disk', folder=str(tmp_path / 'folder'), views=1)
    run = train(tmp_path / 'run', disk, model=rig.detector(), epochs=1)
    assert 'levels that are read 1, 2, 3 of 0 to 3' in ' '.join(run.said[0].split())
    paths = list((tmp_path / 'folder').rglob('*.features'))
    for path in paths:
        levels = feature_store._content(str(path), check=True).levels
        assert [level.map is None for level in levels] == [True, False, False, False]
        assert [level.shape for level in levels] == [
            (16, 16, 16),
            (32, 8, 8),
            (64, 4, 4),
            (128, 2, 2),
        ]
    assert len(paths) == 6
    size = 4 * (32 * 64 + 64 * 16 + 128 * 4)
    assert f'{size / 1e6:.2f} MB (float32)' in run.said[0]


def test_ema_and_validation_leave_what_is_kept(tmp_path):
    hooks = [FROZEN, dict(type='EMAHook', momentum=0.2)]
    keep = dict(checkpoint=dict(type='CheckpointHook', interval=4))
    options = dict(hooks=hooks, model=rig.detector(), epochs=4, validate=True, default_hooks=keep)
    reference, run = (train(tmp_path / str(s), s, **options) for s in (None, 'ram'))
    assert same(run, reference) and run.images == dict(computed=12, read=12)
    kept = [
        torch.load(tmp_path / name / 'epoch_4.pth', weights_only=False)['ema_state_dict']
        for name in ('None', 'ram')
    ]
    assert not rig.equal(*kept)


def test_other_hooks_see_features_and_weights(tmp_path):
    hooks = [
        rig.dbf(3),
        dict(type='DriftHook', num_images=3),
        dict(type='EigenspectrumHook', interval=1, num_batches=1, split='train'),
        dict(type='RGNHook', interval=1),
        RANDOM,
    ]
    options = dict(hooks=hooks, model=rig.detector())
    reference, run = (train(tmp_path / str(s), s, **options) for s in (None, 'ram'))
    assert same(run, reference)
    for name in ('drift.jsonl', 'eigen.jsonl', 'rgn.jsonl'):
        lines = [
            [json.loads(line) for line in next((tmp_path / n).rglob(name)).read_text().splitlines()]
            for n in ('None', 'ram')
        ]
        for line in sum(lines, []):
            for key in [k for k in line if 'time' in k or 'seconds' in k]:
                line.pop(key)
        assert lines[0] == lines[1] != []


@pytest.mark.parametrize('hooks', [[], [RANDOM]], ids=['', 'random'])
def test_beside_a_folded_forward_and_nothing_is_left(hooks, tmp_path):
    folded = dict(rig.dbf(4), frozen_forward='folded')
    options = dict(hooks=[folded, *hooks], model=rig.detector(), epochs=5)
    reference, run = (train(tmp_path / str(s), s, **options) for s in (None, 'ram'))
    assert same(run, reference) and run.images == dict(computed=12, read=6)
    loader = run.runner.train_dataloader
    parts = next(h for h in run.runner.hooks if isinstance(h, Parts))
    assert parts.before != run.parts
    assert (loader.dataset, loader.batch_sampler) == parts.before


@TRANSFORMS.register_module(force=True)
class Differently:
    """Gives an image another shape, or other values, than a seed would."""

    def __init__(self, how):
        self.how, self.count = how, 0

    def __call__(self, results):
        self.count += 1
        if self.how == 'shapes':
            results['inputs'] = results['inputs'][:, : 64 - results['data_samples'].img_id]
        if self.how == 'values':
            results['inputs'] = results['inputs'] + self.count
        return results['inputs'] if self.how == 'tensors' else results


def changed(how):
    return dict(loader=data([*FLIP, dict(type='Differently', how=how)]))


MIXED = dict(
    type='mmdet.MultiImageMixDataset',
    dataset=dict(type='DrawnData', pipeline=FLIP[:1], lazy_init=False),
    pipeline=[dict(type='mmdet.Mosaic', img_scale=(32, 32)), FLIP[2]],
)
AUGMENTS = [dict(type='mmdet.BatchSyncRandomResize', random_size_range=(32, 96), interval=1)]
RESIZING = rig.detector()
RESIZING['data_preprocessor']['batch_augments'] = AUGMENTS
SWITCH = dict(type='mmdet.PipelineSwitchHook', switch_epoch=1, switch_pipeline=FLIP)
REFUSED = {
    'no backbone': (dict(model=dict(LIGHT, odd='no backbone'), hooks=[]), 'Light has no backbone'),
    'train mode': (dict(hooks=[dict(FROZEN, frozen_mode='train')]), "frozen_mode='train'"),
    'norms': (dict(hooks=[]), r'0\.1, 1\.1, 2\.1 in train mode'),
    'trained': (
        dict(hooks=[dict(FROZEN, schedule=dict(type='FullTraining'))]),
        r'never wholly frozen: schedule=FullTraining.*trains a part of it in every phase',
    ),
    'switch': (dict(hooks=[FROZEN, SWITCH]), 'PipelineSwitchHook exchanges the pipeline'),
    'dataset': (dict(loader=dict(data(), dataset=dict(type='Bare'))), 'Bare has no length or no'),
    'mixing': (dict(loader=dict(data(), dataset=MIXED)), r'MultiImageMixDataset.*Mosaic'),
    'shapes': (changed('shapes'), r'shapes \[\(3, 60, 64\), .*\(3, 64, 64\)\]'),
    'values': (changed('values'), 'two images for one seed'),
    'tensors': (changed('tensors'), "no dict with 'inputs', one image"),
    'collate': (
        dict(loader=dict(data(), collate_fn=dict(type='default_collate'))),
        'collate_fn must give a dict of lists',
    ),
    'calls': (dict(model=dict(LIGHT, odd='twice')), 'Light calls its backbone 2 times'),
    'outputs': (dict(model=rig.THREE), 'Sequential returns Tensor'),
    'augments': (dict(model=RESIZING), r'batch_augments \(BatchSyncRandomResize\)'),
    'second': (dict(hooks=[FROZEN, dict(type='FeatureCacheHook')]), 'two FeatureCacheHooks'),
    'compile': (dict(compile=True), 'compile=True'),
}


@rig.DATASETS.register_module(force=True)
class Bare(torch.utils.data.Dataset):
    metainfo: dict = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return rig.DrawnScenes()[index]


@pytest.mark.parametrize('name', REFUSED)
def test_refusals_name_the_thing(name, tmp_path, monkeypatch):
    options, words = REFUSED[name]
    runner = built(tmp_path, **options)
    monkeypatch.setattr(runner, '_maybe_compile', lambda name: None)  # takes long to import
    with pytest.raises(ValueError, match=words) as error:
        runner.train()
    assert 'FeatureCacheHook' in str(error.value) and '\n' not in str(error.value)
    assert runner.iter == 0


def test_what_no_probe_can_see_ends_the_first_step(tmp_path):
    """Images that go through the backbone one by one, or features from elsewhere."""
    with pytest.raises(RuntimeError, match='got 1 images where 2 were loaded'):
        train(tmp_path / 'a', model=dict(LIGHT, odd='one by one'))
    runner = built(tmp_path / 'b')
    runner.register_hook(Elsewhere())
    with pytest.raises(RuntimeError, match='the backbone was not called in a step'):
        runner.train()


class Elsewhere(Hook):
    """In a step the layers are called one by one, as some self-trained backbones allow."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        backbone = runner.model.backbone
        vars(runner.model)['backbone'] = lambda images: Maps.forward(backbone, images)
