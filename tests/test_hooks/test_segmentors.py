"""Segmentors and a classifier under all hooks, in their runners; watching changes no bit."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from mmengine.structures import PixelData
from test_detectors import shrink
from test_images import lines
from torch.utils.data import DataLoader

from mmbackbone_plugins import OrientedMetric, collect_moments, compat
from mmbackbone_plugins.utils.sampling import SeededBatches

CLASSES = 3


@DATASETS.register_module(force=True)
class DrawnMasks(rig.DrawnScenes):
    """The boxes of drawn scenes as masks: two classes on a third, a corner without a label."""

    metainfo = dict(classes=('land', *rig.CLASSES))

    def __init__(self, length: int = 8, size: int = 64, channels: int = 3, pipeline=None) -> None:
        super().__init__(length, size)  # of the pipeline the tools read what it packs
        self.channels = channels

    def __getitem__(self, index):
        from mmseg.structures import SegDataSample

        item = super().__getitem__(index)
        truth = item['data_samples'].gt_instances
        labels = torch.zeros(1, self.size, self.size, dtype=torch.long)
        for (x1, y1, x2, y2), label in zip(truth.bboxes.int().tolist(), truth.labels.tolist()):
            labels[0, y1:y2, x1:x2] = label + 1
        labels[0, :8, :8] = 255
        shape = (self.size, self.size)
        sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, img_path=f'{index}'))
        sample.gt_sem_seg = PixelData(data=labels)
        inputs = item['inputs'].repeat(self.channels // 3, 1, 1)
        return dict(inputs=inputs, data_samples=sample)


@DATASETS.register_module(force=True)
class DrawnClasses(DrawnMasks):
    """Drawn scenes with the class of their first box."""

    def __getitem__(self, index):
        from mmpretrain.structures import DataSample

        item = rig.DrawnScenes.__getitem__(self, index)
        label = item['data_samples'].gt_instances.labels[:1]
        shape = (self.size, self.size)
        sample = DataSample(metainfo=dict(img_shape=shape, ori_shape=shape)).set_gt_label(label)
        return dict(inputs=item['inputs'], data_samples=sample)


def theirs(package, path, **values):
    """A model of a package's configs, with other values."""
    pytest.importorskip(package)
    home = Path(import_module(package).__file__).parent / '.mim' / 'configs'
    model = Config.fromfile(home / path).model.to_dict()
    shrink(model, **values)
    return dict(model, _scope_=package)


def segmentor(path):
    model = theirs(
        'mmseg',
        path,
        channels=16,
        num_classes=CLASSES,
        norm_cfg=dict(type='SyncBN'),
        pretrained=None,
    )
    model['data_preprocessor'].update(size=(64, 64))
    return model


def upernet(in_channels=3):
    model = segmentor('_base_/models/upernet_swin.py')
    net = dict(rig.swin(in_channels=in_channels), type='SwinTransformer')
    model.update(backbone=net)
    model['decode_head'].update(in_channels=rig.CHANNELS)
    model['auxiliary_head'].update(in_channels=64)
    if in_channels != 3:
        model['data_preprocessor'].update(mean=None, std=None)
    return model


def deeplab():
    model = segmentor('_base_/models/deeplabv3plus_r50-d8.py')
    model['backbone'].update(base_channels=8, stem_channels=16)
    model['decode_head'].update(in_channels=256, c1_in_channels=32, c1_channels=8)
    model['auxiliary_head'].update(in_channels=128)
    return model


def segformer():
    model = segmentor('_base_/models/segformer_mit-b0.py')
    model['backbone'].update(embed_dims=8, num_layers=[1, 1, 1, 1])
    model['decode_head'].update(in_channels=[8, 16, 40, 64])
    return model


def vit():
    arch = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)
    model = theirs('mmpretrain', '_base_/models/vit-base-p16.py', arch=arch, num_classes=CLASSES)
    model['backbone'].update(img_size=64, patch_size=16)
    model['head'].update(in_channels=32)
    return dict(model, data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=CLASSES))


MODELS = {
    'upernet-swin': upernet,
    'deeplabv3plus-r50': deeplab,
    'segformer': segformer,
    'change': lambda: upernet(in_channels=6),  # two pictures, as mmseg's config on LEVIR-CD
    'vit': vit,
}
WATCHING = [
    dict(type='RGNHook', interval=1),
    dict(type='DriftHook', num_images=2),
    dict(type='EigenspectrumHook', split='train', num_batches=1),
    dict(type='TrainingCostHook'),
]


def options(name):
    model = MODELS[name]()
    data = dict(type='DrawnClasses' if name == 'vit' else 'DrawnMasks', length=4)
    if name == 'change':
        data.update(channels=6)
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='pseudo_collate' if name != 'vit' else 'default_collate'),
        dataset=data,
    )
    return dict(
        model=model,
        train_dataloader=loader,
        optimizer=rig.ADAMW,
        default_scope=model['_scope_'],
    )


@pytest.mark.parametrize(('name', 'by_epoch'), [*((name, False) for name in MODELS), ('vit', True)])
def test_watching_changes_no_bit(name, by_epoch, tmp_path):
    settings = options(name)
    if by_epoch:
        settings.update(epochs=2)
    else:
        settings.update(iters=4)
        settings['train_dataloader']['sampler'] = dict(type='InfiniteSampler', shuffle=True)
    acting = [
        rig.dbf(2, by_epoch=by_epoch),
        dict(type='DistortionRegularizerHook', importance='rgn', num_batches=2),
        dict(type='WeightProjectionHook', kind='spd'),
        dict(type='RandomStateHook'),
    ]
    plain = rig.train(tmp_path / 'plain', hooks=acting, **settings)
    watched = rig.train(tmp_path / 'watched', hooks=acting + WATCHING, **settings)
    assert watched.losses == plain.losses and len(plain.losses) == 4
    assert not rig.equal(watched.states[-1], plain.states[-1])
    states = [plain.states[0], *plain.per_iter]
    for before, after, trains in zip(states, states[1:], plain.trains):
        moved = rig.equal(before, after, 'backbone.')
        assert bool(moved) == any(n.startswith('backbone.') for n in trains)
    for kind, count in dict(rgn=2, drift=1, eigen=2).items():
        assert len(lines(tmp_path / 'watched', kind)) >= count, kind
    assert (tmp_path / 'watched' / 'cost.json').exists()


def test_spectra_by_class_of_the_labels(tmp_path):
    """Of each class the moment over its positions; labels larger than the input, and unlabelled."""
    pytest.importorskip('mmseg')
    settings = options('segformer')
    hook = dict(type='EigenspectrumHook', split='train', num_batches=1, foreground='classes')
    runner = rig.runner(tmp_path, hooks=[hook], iters=1, **settings)
    runner.train()
    written = lines(tmp_path, 'eigen')[0]['layers']
    assert {n for n in written if n.startswith('backbone.stage2')} == {
        f'backbone.stage2@{n}' for n in range(CLASSES)
    }
    scenes = DrawnMasks(4)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(0))[:2].tolist()
    labels = torch.stack([scenes[i]['data_samples'].gt_sem_seg.data[0] for i in order])
    middles = labels[:, 4::8, 4::8]  # of the cells of a map at stride 8
    for label in range(CLASSES):
        seen = written[f'backbone.stage2@{label}']
        assert seen['samples'] == int((middles == label).sum()), label


def test_pictures_of_two_sizes_in_a_batch():
    """MMSegmentation's preprocessor pads for training alone; the labels go with the pictures."""
    pytest.importorskip('mmseg')
    model, scenes = rig.build(segformer()), [DrawnMasks(2, 64)[0], DrawnMasks(2, 48)[1]]
    loader = DataLoader(scenes, batch_size=2, collate_fn=pseudo_collate)
    (batch,) = SeededBatches(loader, model)
    assert batch['inputs'].shape == (2, 3, 64, 64)
    shapes = {sample.gt_sem_seg.data.shape for sample in batch['data_samples']}
    assert shapes == {(1, 64, 64)}
    found = collect_moments(model, [batch], 'backbone', foreground='classes')
    middles = [scene['data_samples'].gt_sem_seg.data[0, 2::4, 2::4] for scene in scenes]
    for label in {n for part in middles for n in part.unique().tolist()} - {255}:
        seen = found[f'backbone.stage1@{label}'].samples
        assert seen == sum(int((part == label).sum()) for part in middles)


def test_the_metric_of_oriented_boxes_is_for_detectors():
    metric = OrientedMetric()
    with pytest.raises(ValueError, match='this model predicts none .pred_sem_seg.: it is for dete'):
        metric.process({}, [dict(pred_sem_seg=None)])


@pytest.mark.parametrize('name', ['deeplabv3plus-r50', 'segformer', 'vit'])
def test_planning_tools(name, tmp_path, capsys):
    settings = options(name)
    model, config, out = settings['model'], tmp_path / 'small.py', tmp_path / 'figures.json'
    pack = 'PackInputs' if name == 'vit' else 'PackSegInputs'
    steps = [dict(type='RandomResizedCrop', scale=64), dict(type=pack)]
    settings['train_dataloader']['dataset']['pipeline'] = steps
    cfg = dict(
        model=model,
        train_dataloader=settings['train_dataloader'],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=8),
        custom_hooks=[rig.dbf(2, by_epoch=False)],
        default_scope=settings['default_scope'],
    )
    if name == 'vit':  # at the top, as in MMPretrain's configs
        cfg['data_preprocessor'] = model.pop('data_preprocessor')
    Config(cfg).dump(config)
    tools = 'analysis_tools/'
    assert rig.call_tool(f'{tools}plan_cost', config, '--rho', '1', '2', '--out', out) == 0
    full, half = json.loads(out.read_text())
    assert full['shape'] == [64, 64] and full['images'] == 2
    assert full['training_flops'] == full['full_training_flops'] > half['training_flops'] > 0
    assert rig.call_tool(f'{tools}print_freezing_schedule', config) == 0
    assert '#.#.#.#.' in capsys.readouterr().out
    assert rig.call_tool(f'{tools}measure_rgn', config, '--batches', '1', '--out', out) == 0
    (run,) = json.loads(out.read_text())['runs']
    assert {'stem', 'stage1', 'stage4'} & set(run['table']['stages'])


@pytest.mark.parametrize('name', [name for name in MODELS if name != 'change'])
def test_features_are_read(name, tmp_path):
    """As computed anew, in a loop of iterations; two passes see the same view."""
    settings = dict(options(name), iters=6)
    settings['train_dataloader'].update(
        sampler=dict(type='InfiniteSampler', shuffle=True), collate_fn=dict(type='pseudo_collate')
    )
    frozen = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    found = {}
    for storage in (None, 'ram'):
        cache = dict(type='FeatureCacheHook', views=1, storage=storage)
        cost = dict(type='TrainingCostHook')
        found[storage] = rig.train(tmp_path / str(storage), hooks=[frozen, cache, cost], **settings)
    assert found['ram'].losses == found[None].losses and len(found[None].losses) == 6
    assert not rig.equal(found['ram'].states[-1], found[None].states[-1])
    if compat.flop_counter():
        paid = [json.loads((tmp_path / s / 'cost.json').read_text()) for s in ('None', 'ram')]
        batches = [list(p['phases']['frozen']['batches'].values()) for p in paid]
        assert batches == [[6], [2, 4]]
        assert paid[1]['totals']['training_flops'] < paid[0]['totals']['training_flops']
