"""Importance against a naive estimate in a plain loop; its files; bad input."""

import copy
import random

import numpy as np
import pytest
import rig
import torch
from mmengine.model import BaseModel

from mmbackbone_plugins import estimate_importance
from mmbackbone_plugins.distortion.importance import _KINDS, ImportanceKind
from mmbackbone_plugins.distortion.importance_file import (
    Fingerprint,
    ImportanceFile,
    fingerprint_data,
    path_in,
)


def built(kind='retinanet', **options):
    torch.manual_seed(0)
    cfg = rig.detector(kind, dict(rig.resnet(), **options))
    net = rig.build(cfg)
    net.init_weights()
    net.rotated = rig.is_rotated(cfg)
    return net


def batches_of(net, images):
    scenes = rig.DrawnScenes(8, rotated=net.rotated)
    groups = [[scenes[i] for i in group] for group in images]
    return [{key: [item[key] for item in group] for key in group[0]} for group in groups]


def naive(net, batches, kind):
    """From the definitions: a copy of the model, a plain loop, sums in float64."""
    net = copy.deepcopy(net).train()
    total = {}
    if kind == 'fisher':
        batches = [
            {k: [v[i]] for k, v in b.items()} for b in batches for i in range(len(b['inputs']))
        ]
    for batch in batches:
        state = copy.deepcopy(net.state_dict())
        net.zero_grad()
        data = net.data_preprocessor(copy.deepcopy(batch), True)
        loss, _ = net.parse_losses(net(**data, mode='loss'))
        loss.backward()
        for name, p in net.named_parameters():
            if not name.startswith('backbone.'):
                continue
            g, w = p.grad.double(), p.detach().double()
            if kind == 'rgn':
                g, w = abs(g), abs(w)
                if g.dim() == 4:
                    g, w = g.sum((2, 3), keepdim=True), w.sum((2, 3), keepdim=True)
                score = g / (w + 1e-8)
            else:
                score = abs(g) if kind == 'ewc' else g * g
            total[name] = total.get(name, 0) + score
        net.load_state_dict(state)
    return {n: t / len(batches) for n, t in total.items()}


@pytest.mark.parametrize('kind', ('rgn', 'ewc', 'fisher'))
@pytest.mark.parametrize('detector', ('retinanet', 'oriented-rcnn'))
def test_against_a_plain_loop(kind, detector):
    net = built(detector, norm_eval=True)
    batches = batches_of(net, [(0, 1), (2, 3), (4, 5)])
    torch.manual_seed(7)  # samplers of two-stage detectors draw
    wanted = naive(net, batches, kind)
    torch.manual_seed(7)
    seen = []
    found = estimate_importance(net, batches, kind, progress=seen.append)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.shape == wanted[name].shape, name
        torch.testing.assert_close(value.double(), wanted[name], rtol=2e-5, atol=1e-12)
    assert seen == list(range(1, 7 if kind == 'fisher' else 4))


def test_fisher_of_a_semi_supervised_detector_is_that_of_its_labelled_images(monkeypatch):
    """Gaps are where a batch has images of other branches; those have no part in it."""
    supervised = built(norm_eval=True)
    torch.manual_seed(0)
    net = rig.build(rig.semi_supervised())
    net.student.backbone.norm_eval = True
    net.student.load_state_dict(supervised.state_dict())
    plain = batches_of(supervised, [(0, 1), (2, 3)])
    batches = []
    for batch in plain:
        gaps = {k: dict(sup=[None, *v], unsup_teacher=[v[0], None, None]) for k, v in batch.items()}
        batches.append(gaps)
    found = estimate_importance(net, batches, 'fisher', 'student.backbone')
    wanted = naive(supervised, plain, 'fisher')
    assert found.keys() == {f'student.{name}' for name in wanted}
    for name, value in wanted.items():  # sup_weight is 0.5
        torch.testing.assert_close(found[f'student.{name}'].double(), value / 4, rtol=2e-5, atol=0)
    monkeypatch.delattr('mmdet.models.SemiBaseDetector.loss_by_gt_instances')
    with pytest.raises(ValueError, match="no 'loss_by_gt_instances'"):
        estimate_importance(net, batches, 'fisher', 'student.backbone')


def test_one_value_per_kernel():
    net = built()
    found = estimate_importance(net, batches_of(net, [(0, 1)]), 'rgn')
    assert found['backbone.layer1.0.conv1.weight'].shape == (16, 16, 1, 1)
    assert found['backbone.bn1.weight'].shape == (16,)


def test_leaves_no_trace():
    net = built().train()
    net.backbone.layer1.requires_grad_(False)
    net.backbone.layer2.eval()
    for p in net.neck.parameters():
        p.grad = torch.ones_like(p)
    seed = lambda: (random.seed(3), np.random.seed(3), torch.manual_seed(3))  # noqa: E731
    draw = lambda: (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: E731
    seed()
    untouched = draw()
    before = copy.deepcopy(net.state_dict())
    modes = [m.training for m in net.modules()]
    wanted = [p.requires_grad for p in net.parameters()]
    names = [n for n, _ in net.named_parameters() if n.startswith('backbone.')]
    seed()
    found = estimate_importance(net, batches_of(net, [(0, 1)]), 'rgn', names=names)
    assert draw() == untouched
    assert rig.equal(before, net.state_dict()) == []
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == wanted
    assert all(bool((p.grad == 1).all()) for p in net.neck.parameters())
    assert all(p.grad is None for p in net.backbone.parameters())
    # Frozen parameters were measured for all that: gradients are on for the time of the pass.
    assert float(found['backbone.layer1.0.bn2.weight'].sum()) > 0


def test_by_default_what_trains():
    net = built()
    net.backbone.layer1.requires_grad_(False)
    found = estimate_importance(net, batches_of(net, [(0, 1)]), 'ewc')
    assert not any('layer1' in name for name in found) and 'backbone.conv1.weight' in found


def test_the_number_of_batches():
    net = built(norm_eval=True)
    batches = batches_of(net, [(0, 1), (2, 3), (4, 5)])
    for kind in ('ewc', 'fisher'):
        first = estimate_importance(net, batches, kind, num_batches=2)
        second = estimate_importance(net, batches[:2], kind)
        assert rig.equal(first, second) == []


def test_a_reduction_makes_one_mean_of_two_processes():
    net = built(norm_eval=True)
    batches = batches_of(net, [(0, 1), (2, 3), (4, 5), (6, 7)])
    kept = []
    estimate_importance(net, batches[2:], 'rgn', reduce=lambda t: kept.append(t.clone()))
    others = iter(kept)
    found = estimate_importance(net, batches[:2], 'rgn', reduce=lambda t: t.add_(next(others)))
    for name, value in estimate_importance(net, batches, 'rgn').items():
        torch.testing.assert_close(found[name], value)


class Slope(BaseModel):
    """As much of a detector as is needed: the gradient of its weight is the input."""

    def __init__(self, dtype):
        super().__init__()
        self.backbone = torch.nn.Linear(3, 1, bias=False).to(dtype)

    def forward(self, inputs, mode):
        return dict(loss=(self.backbone.weight * inputs[0]).sum())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(('kind', 'power'), [('ewc', 1), ('fisher', 2)])
@pytest.mark.parametrize('size', [1.0, 1e-5, 300.0])
def test_sums_and_squares_in_half_precision(dtype, kind, power, size):
    """In bfloat16 a sum of ones ends at 256; the square of 1e-5 is 0 in float16, of 300 Inf."""
    gradient = torch.full((1, 1, 3), size, dtype=dtype)
    found = estimate_importance(Slope(dtype), [dict(inputs=gradient)] * 2000, kind)
    value = found['backbone.weight']
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wanted = (gradient[0].double() ** power).to(value.dtype)
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_kind_of_ones_own_is_wide_too(dtype, monkeypatch):
    kinds = []

    class Own(ImportanceKind):
        @staticmethod
        def score(gradient, weight):
            kinds.append((gradient.dtype, weight.dtype))
            return gradient.abs() ** 3

    monkeypatch.setitem(_KINDS, 'own', Own)
    gradient = torch.full((1, 1, 3), 0.01, dtype=dtype)
    found = estimate_importance(Slope(dtype), [dict(inputs=gradient)] * 3, 'own')
    assert set(kinds) == {(torch.float32, torch.float32)}
    wanted = gradient[0].float() ** 3
    torch.testing.assert_close(found['backbone.weight'], wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize('bad', [0, -1, 2.5, float('nan'), '3', True])
def test_a_bad_number_of_batches(bad):
    with pytest.raises(
        ValueError, match='num_batches must be a positive whole number or None, got'
    ):
        estimate_importance(Slope(torch.float32), [], 'ewc', num_batches=bad)


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="'backbone.weight' is complex"):
        estimate_importance(Slope(torch.complex64), [], 'ewc')


def test_bad_input():
    net = built()
    batches = batches_of(net, [(0, 1)])
    with pytest.raises(ValueError, match="importance must be one of 'uniform', 'rgn'.*nearest"):
        estimate_importance(net, batches, 'rng')
    with pytest.raises(ValueError, match='nothing to estimate'):
        estimate_importance(net, batches, 'uniform')
    with pytest.raises(ValueError, match="'neck.x' is not a parameter of target 'backbone'"):
        estimate_importance(net, batches, 'rgn', names=['neck.x'])
    with pytest.raises(ValueError, match='loader is empty'):
        estimate_importance(net, [], 'rgn')
    net.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match='no parameter that trains'):
        estimate_importance(net, batches, 'rgn')


def test_nan_is_an_error_that_names_the_parameter():
    net = built()
    with torch.no_grad():
        net.backbone.layer4[0].conv1.weight[0, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match=r"importance 'ewc' of 'backbone\.[\w.]+' is NaN or Inf"):
        estimate_importance(net, batches_of(net, [(0, 1)]), 'ewc')


# -- files -----------------------------------------------------------------------------------------


def stored(**parts):
    mark = Fingerprint(**dict(dict(config='a', weights='b', data='c'), **parts))
    return ImportanceFile('rgn', mark, dict(x=torch.rand(3, 2, 1, 1)))


def test_a_file_comes_back_as_it_was(tmp_path):
    wanted = stored()
    path = path_in(tmp_path / 'new', 'rgn', wanted.fingerprint)
    wanted.save(path)
    found = ImportanceFile.load(path)
    assert found.fingerprint == wanted.fingerprint and found.kind == 'rgn'
    assert torch.equal(found.tensors['x'], wanted.tensors['x'])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_files_of_different_estimates_never_meet(tmp_path):
    marks = [stored(), stored(config='z'), stored(weights='z'), stored(data='z')]
    assert len({path_in(tmp_path, 'rgn', m.fingerprint) for m in marks}) == 4
    assert marks[0].fingerprint.differences(marks[2].fingerprint) == ['weights']


def test_an_interrupted_write_harms_nothing(tmp_path, monkeypatch):
    wanted = stored()
    path = path_in(tmp_path, 'rgn', wanted.fingerprint)
    wanted.save(path)

    def torn(value, target):
        target.write(b'half')
        raise OSError('No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(torch, 'save', torn)
        with pytest.raises(OSError, match='No space left'):
            wanted.save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(ImportanceFile.load(path).tensors['x'], wanted.tensors['x'])


def test_strange_files(tmp_path):
    with pytest.raises(ValueError, match='does not exist'):
        ImportanceFile.load(tmp_path / 'none.pth')
    (tmp_path / 'torn.pth').write_bytes(b'half')
    with pytest.raises(ValueError, match='cannot be read'):
        ImportanceFile.load(tmp_path / 'torn.pth')
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='is not an importance file of version 1'):
        ImportanceFile.load(tmp_path / 'other.pth')


def test_the_fingerprint_of_data_sees_annotations():
    class Listed(list):
        metainfo = dict(classes=('a',))
        get_data_info = list.__getitem__

    one = Listed(dict(img_path=f'{i}.png', boxes=[i]) for i in range(200))
    two = Listed(dict(img_path=f'{i}.png', boxes=[i + (i == 0)]) for i in range(200))
    assert fingerprint_data(one) == fingerprint_data(Listed(one))
    assert fingerprint_data(one) != fingerprint_data(two)
    assert fingerprint_data(one) != fingerprint_data(Listed(one[:-1]))
