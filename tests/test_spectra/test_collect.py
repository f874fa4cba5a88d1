"""Second moments of real detectors against numpy on their gathered features."""

import random

import numpy as np
import pytest
import rig
import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from mmbackbone_plugins.spectra import (
    collect_moments,
    convolution_layers,
    default_layers,
    eigenspectrum,
    position_mask,
)
from mmbackbone_plugins.spectra.masks import geometry_of
from mmbackbone_plugins.utils.sampling import SeededBatches, loads_boxes_after_resize

STAGES = ['backbone.stage1', 'backbone.stage2', 'backbone.stage3', 'backbone.stage4']


@pytest.fixture(scope='module', autouse=True)
def _seed():
    torch.manual_seed(0)


def detector(kind='retinanet', backbone=None):
    return rig.build(rig.detector(kind, backbone))


def batches(model, sizes=((64, 64), (96, 64)), per=2, rotated=False):
    """A batch per pair of image sizes; images of two sizes in a batch are padded to the larger."""
    found = []
    for number, size in enumerate(sizes):
        items = []
        for i in range(per):
            item = rig.DrawnScenes(8, size[i % 2], rotated)[per * number + i]
            item['data_samples'].set_metainfo(dict(img_path=f'{per * number + i}.png'))
            items.append(item)
        found.append(model.data_preprocessor(pseudo_collate(items), False))
    return found


@torch.no_grad()
def gathered(model, inputs, region=None):
    """Columns of every image and layer, kept as a user would who has the memory."""
    names = [*STAGES, *(f'neck.out{i}' for i in range(5))]
    columns = {name: [] for name in names}
    model.eval()
    for m in model.modules():
        m.training = False
    for batch in inputs:
        stages = model.backbone(batch['inputs'])
        for name, feature in zip(names, (*stages, *model.neck(stages))):
            mask = position_mask(geometry_of(batch), tuple(feature.shape[2:]), region)
            for i, image in enumerate(feature.double().numpy()):
                kept = image.reshape(len(image), -1)
                columns[name].append(kept if mask is None else kept[:, mask[i].flatten().numpy()])
    return {name: [c for c in images if c.shape[1]] for name, images in columns.items()}


@pytest.mark.parametrize('region', [None, 'foreground', 'background'])
@pytest.mark.parametrize('kind', ['retinanet', 'oriented-rcnn'])
def test_against_numpy_on_a_real_detector(kind, region):
    model = detector(kind)
    inputs = batches(model, rotated=kind == 'oriented-rcnn')
    assert geometry_of(inputs[1])[1].padded  # 64 pixels in a batch with 96
    found = collect_moments(model, inputs, default_layers(model), foreground=region)
    wanted = gathered(model, inputs, region)
    assert list(found) == list(wanted)
    for name, images in wanted.items():
        moment = found[name]
        assert moment.images == len(images)
        assert moment.samples == sum(c.shape[1] for c in images)
        second = np.mean([c @ c.T / c.shape[1] for c in images], axis=0)
        mean = np.mean([c.mean(1) for c in images], axis=0)
        scale = abs(second).max()
        assert abs(moment.matrix().numpy() - second).max() < 1e-12 * scale
        centred = second - np.outer(mean, mean)
        assert abs(moment.matrix(center=True).numpy() - centred).max() < 1e-12 * scale
        values = eigenspectrum(moment.matrix()).numpy()
        np.testing.assert_allclose(
            values, np.linalg.eigvalsh(second)[::-1].clip(0), atol=1e-12 * scale
        )
    if region is None:  # with images of equal size and nothing masked numpy.cov is the centred one
        square = batches(model, sizes=((64, 64),), rotated=kind == 'oriented-rcnn')
        moment = collect_moments(model, square, 'backbone')['backbone.stage2']
        cov = np.cov(np.concatenate(gathered(model, square)['backbone.stage2'], 1), bias=True)
        np.testing.assert_allclose(moment.matrix(center=True).numpy(), cov, atol=1e-12)


@pytest.mark.parametrize('backbone', [rig.swin, rig.convnext])
def test_other_families_have_the_names_of_stages(backbone):
    if backbone is rig.convnext:
        pytest.importorskip('mmpretrain')
    model = detector(backbone=backbone())
    inputs = batches(model, sizes=((96, 64),))
    found = collect_moments(model, inputs, ['backbone'])
    assert list(found) == STAGES
    assert [m.num_channels for m in found.values()] == rig.CHANNELS
    inside = convolution_layers(model)
    moments = collect_moments(model, inputs, inside)
    if backbone is rig.convnext:  # computes with the channels last
        act = model.backbone.stages[0][0].act
        wanted = 64
        name = 'backbone.stages.0.0.act'
    else:
        act = model.backbone.stages[0].blocks[0].ffn.layers[0][1]
        wanted = 64
        name = 'backbone.stages.0.blocks.0.ffn.layers.0.1'
    kept = []
    handle = act.register_forward_hook(lambda m, a, out: kept.append(out.double()))
    with torch.no_grad():
        model.backbone(inputs[0]['inputs'])
    handle.remove()
    assert moments[name].num_channels == wanted == kept[0].shape[-1]
    images = kept[0].flatten(1, -2).numpy()
    mask = position_mask(geometry_of(inputs[0]), (24, 24)).flatten(1).numpy()
    images = [image[m] for image, m in zip(images, mask)]
    second = np.mean([c.T @ c / len(c) for c in images], axis=0)
    np.testing.assert_allclose(moments[name].matrix().numpy(), second, atol=1e-12)


def test_modules_that_keep_things_in_eval_mode():
    """Case 14: TinyViT and LeViT make their attention biases in train(False)."""

    class Keeps(nn.Conv2d):
        def train(self, mode=True):
            super().train(mode)
            self.kept = None if mode else self.bias.detach() + 1

        def forward(self, x):
            return super().forward(x) + (0 if self.training else self.kept[:, None, None])

    net = nn.Sequential(Keeps(3, 4, 1), nn.ReLU())
    images = torch.randn(2, 3, 5, 5)
    moment = collect_moments(net, [images], ['0'])['0']
    feature = nn.functional.conv2d(images, net[0].weight, 2 * net[0].bias + 1).double().flatten(2)
    expected = (feature @ feature.transpose(1, 2) / 25).mean(0)
    assert torch.allclose(moment.matrix(), expected, rtol=1e-5)
    assert net[0].training and 'kept' not in vars(net[0])


def test_before_and_after_norm_and_relu():
    """ResNet's blocks share a ReLU: its calls are told apart, and are what the block computes."""
    model = detector()
    (batch,) = batches(model, sizes=((64, 64),))
    found = collect_moments(model, [batch], convolution_layers(model))
    block, x = model.backbone.layer1[0], None
    with torch.no_grad():
        for m in model.modules():
            m.training = False
        b = model.backbone
        x = b.maxpool(b.relu(b.norm1(b.conv1(batch['inputs']))))
        steps = {'conv1': block.conv1(x).clone()}
        steps['bn1'] = block.norm1(steps['conv1']).clone()
        steps['relu'] = steps['bn1'].relu()
        steps['conv2'] = block.conv2(steps['relu']).clone()
        steps['bn2'] = block.norm2(steps['conv2']).clone()
        steps['relu#2'] = (steps['bn2'] + x).relu()
    for step, feature in steps.items():
        flat = feature.double().flatten(2)
        wanted = (flat @ flat.transpose(1, 2) / flat.shape[2]).mean(0)
        torch.testing.assert_close(found[f'backbone.layer1.0.{step}'].matrix(), wanted)
    order = [n for n in found if n.startswith('backbone.layer1.0.')]
    assert [n.rsplit('.', 1)[1] for n in order] == list(steps)


def test_layers_of_a_head_and_patterns():
    model = detector('faster-rcnn')
    found = collect_moments(model, batches(model), ['rpn_head.rpn_conv', 'backbone.layer?'])
    calls = ['rpn_head.rpn_conv', *(f'rpn_head.rpn_conv#{i}' for i in range(2, 6))]
    assert [n for n in found if n.startswith('rpn')] == calls  # once a level
    assert [n for n in found if n.startswith('back')] == [f'backbone.layer{i}' for i in range(1, 5)]


def test_groups_merge_to_the_whole():
    model = detector()
    inputs = batches(model, per=3)
    whole = collect_moments(model, inputs, 'neck')
    for name, parts in collect_moments(model, inputs, 'neck', groups=4).items():
        assert [p.images for p in parts] == [2, 2, 1, 1]
        merged = parts[0]
        for part in parts[1:]:
            merged.merge(part)
        torch.testing.assert_close(merged.matrix(), whole[name].matrix(), rtol=1e-12, atol=1e-15)
    # Image i is in group i % 4, whatever the batches are.
    first = collect_moments(model, inputs, 'neck', groups=4)['neck.out0'][3]
    alone = gathered(model, inputs)['neck.out0'][3]
    np.testing.assert_allclose(first.matrix().numpy(), alone @ alone.T / alone.shape[1], atol=1e-12)


def test_fewer_images_and_fewer_positions():
    model = detector()
    inputs = batches(model)
    seen = []
    found = collect_moments(model, inputs, 'backbone', num_images=3, progress=seen.append)
    assert seen == [2, 3]
    wanted = gathered(model, inputs)['backbone.stage1'][:3]
    second = np.mean([c @ c.T / c.shape[1] for c in wanted], axis=0)
    np.testing.assert_allclose(found['backbone.stage1'].matrix().numpy(), second, atol=1e-12)
    thin = collect_moments(model, inputs[:1], 'backbone', stride=2)['backbone.stage1']
    with torch.no_grad():
        feature = model.backbone(inputs[0]['inputs'])[0][..., ::2, ::2].double().flatten(2)
    second = (feature @ feature.transpose(1, 2) / feature.shape[2]).mean(0)
    torch.testing.assert_close(thin.matrix(), second)
    assert thin.samples == 2 * 8 * 8


def state_of(model):
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    return tensors, modes, gradients, hooks, [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize('fails', [False, True])
def test_no_trace_is_left_also_after_an_exception(fails):
    model = detector()
    inputs = batches(model)
    model.train()
    model.backbone.layer1.eval()
    for p in model.neck.parameters():
        p.grad = torch.ones_like(p)
    own = []
    model.backbone.layer2.register_forward_hook(lambda *a: own.append(1))  # a user's own
    before = state_of(model)
    numbers = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()

    def forward(batch):
        random.random(), np.random.rand(), torch.rand(1)
        model.extract_feat(batch['inputs'])
        if fails:
            raise RuntimeError('out of memory')

    if fails:
        with pytest.raises(RuntimeError, match='out of memory'):
            collect_moments(model, inputs, default_layers(model), forward=forward)
    else:
        collect_moments(model, inputs, default_layers(model), forward=forward)
    after = state_of(model)
    assert not rig.equal(before[0], after[0]) and before[1] == after[1] and before[3:] == after[3:]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(before[2], after[2]))
    assert own  # it was called, and is there still
    assert numbers[0] == random.getstate() and (numbers[1] == np.random.get_state()[1]).all()
    assert torch.equal(numbers[2], torch.get_rng_state())


def test_nan_names_layer_and_image():
    model = detector()
    inputs = batches(model)
    inputs[1]['inputs'][1, 0, 5, 5] = float('nan')
    with pytest.raises(ValueError, match=r"layer 'backbone.conv1' yields NaN .* image 3 \(3.png\)"):
        collect_moments(model, inputs, ['backbone.conv1'])
    with pytest.raises(ValueError, match=r'image 3 \(3.png\)'):
        collect_moments(model, inputs, ['backbone.conv1'], groups=3)


@pytest.mark.parametrize(
    ('layers', 'options', 'message'),
    [
        ('backbone.layr3', {}, r"no module 'backbone.layr3'; nearest: backbone.layer3"),
        (['neck', 'nothing.*'], {}, r"no module 'nothing\.\*'"),
        ([], {}, 'layers is an empty list'),
        ('data_preprocessor', {}, "'data_preprocessor' is not called when the model goes forward"),
        (
            'roi_head.bbox_head.shared_fcs.0',
            {},
            r'yields a tensor \(\d+, 32\).*no feature map \(N, C, H, W\) and no tokens',
        ),
        ('backbone', dict(batches=[]), 'no images to collect second moments from'),
        ('backbone', dict(foreground='objects'), 'foreground must be None or one of'),
        ('backbone', dict(stride=0), 'stride must be a positive whole number, got 0'),
        ('backbone', dict(groups=1.5), 'groups must be a positive whole number, got 1.5'),
        (
            'backbone',
            dict(foreground='foreground', batches=[torch.rand(1, 3, 64, 64)]),
            'needs batches with data samples',
        ),
    ],
)
def test_bad_input(layers, options, message):
    model, options = detector('faster-rcnn'), dict(options)
    inputs = options.pop('batches', None)
    inputs = batches(model) if inputs is None else inputs
    with pytest.raises(ValueError, match=message):
        collect_moments(model, inputs, layers, **options)


def test_regions_are_no_images():
    model = detector('faster-rcnn')
    with pytest.raises(ValueError, match='not one feature map an image'):
        collect_moments(model, batches(model), 'roi_head.bbox_roi_extractor')


# -- images ----------------------------------------------------------------------------------------


class Loader:
    batch_size = 2
    collate_fn = staticmethod(pseudo_collate)

    def __init__(self, dataset):
        self.dataset = dataset


def test_images_are_a_function_of_the_seed_and_shared_by_ranks():
    model = detector()
    loader = Loader(rig.DrawnScenes(11))

    def ids(**options):
        return [
            [s.img_id for s in batch['data_samples']]
            for batch in SeededBatches(loader, model, **options)
        ]

    numbers = random.getstate(), torch.get_rng_state()
    whole = ids(num_batches=4)
    assert numbers[0] == random.getstate() and torch.equal(numbers[1], torch.get_rng_state())
    assert [len(b) for b in whole] == [2, 2, 2, 2] and whole == ids(num_batches=4)
    assert len({i for b in whole for i in b}) == 8  # without replacement
    assert whole != ids(num_batches=4, seed=1)
    ranks = [ids(num_batches=4, rank=r, world_size=3) for r in range(3)]
    assert ranks == [[whole[0], whole[3]], [whole[1]], [whole[2]]]
    assert sum(ids(num_images=5), []) == sum(whole, [])[:5]
    assert sorted(sum(ids(num_batches=50), [])) == list(range(11))  # no more than there are
    with pytest.raises(ValueError, match=r'data set \(DrawnScenes\) has no images'):
        SeededBatches(Loader(rig.DrawnScenes(0)), model)


@pytest.mark.parametrize('rotated', [False, True])
def test_boxes_of_a_validation_pipeline_are_brought_to_the_input(rotated):
    """There they are loaded after Resize, in pixels of the file."""
    from mmcv.transforms import Compose

    def dataset(*names):
        found = rig.DrawnScenes(1, rotated=rotated)
        found.pipeline = Compose([])
        found.pipeline.transforms = [type(n, (), {})() for n in names]
        item = found[0]
        item['data_samples'].set_metainfo(dict(scale_factor=(0.5, 2.0)))
        found.__class__ = type('One', (rig.DrawnScenes,), dict(__getitem__=lambda s, i: item))
        return found

    model = detector('rotated-retinanet' if rotated else 'retinanet')
    late = dataset('LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackDetInputs')
    early = dataset('LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs')
    assert loads_boxes_after_resize(late) and not loads_boxes_after_resize(early)
    assert not loads_boxes_after_resize(rig.DrawnScenes(1))
    boxes = []
    for data in (early, late):
        (batch,) = SeededBatches(Loader(data), model)
        found = batch['data_samples'][0].gt_instances.bboxes
        boxes.append(getattr(found, 'tensor', found))
    torch.testing.assert_close(boxes[1][:, 0], boxes[0][:, 0] * 0.5)
    torch.testing.assert_close(boxes[1][:, 1], boxes[0][:, 1] * 2)
