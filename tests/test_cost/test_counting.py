"""What the counter sees, what it lists, and that it leaves everything as it was."""

import sys

import mmcv.ops
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.checkpoint import checkpoint

from mmbackbone_plugins import compat
from mmbackbone_plugins.cost import OperatorCounter, StepFlops
from mmbackbone_plugins.cost.counting import EXTENSIONS

BOXES = torch.tensor([[0.0, 0.0, 8.0, 8.0], [1.0, 1.0, 8.0, 8.0], [20.0, 20.0, 30.0, 30.0]])
LINEAR = 2 * 4 * 5 * 6  # of (4, 5) x (5, 6)


def roi_align(features):
    rois = torch.cat([torch.zeros(3, 1), BOXES], dim=1)
    return mmcv.ops.roi_align(features, rois, (2, 2))


@pytest.mark.newer_torch
def test_custom_operators_are_listed_with_their_calls():
    features = torch.rand(1, 4, 32, 32, requires_grad=True)
    with OperatorCounter() as counter:
        mmcv.ops.nms(BOXES, torch.tensor([0.9, 0.8, 0.7]), 0.5)
        pooled = roi_align(features) + roi_align(features)
        pooled.sum().backward()
    assert counter.uncounted['mmcv.nms'] == 1
    assert counter.uncounted['mmcv.roi_align_forward'] == 2
    assert counter.uncounted['mmcv.roi_align_backward'] == 2
    assert list(counter.uncounted)[:3] == [n for n in counter.uncounted if n.startswith('mmcv.')]
    # Additions, multiplications and moves are not worth a line each.
    assert set(counter.uncounted) == {
        *('mmcv.nms', 'mmcv.roi_align_forward', 'mmcv.roi_align_backward', 'aten.sum')
    }
    assert counter.forward == counter.backward == 0


@pytest.mark.newer_torch
def test_what_a_custom_operator_does_inside_is_its_own():
    """On a CPU this one writes its matrix through torch, entry by entry."""
    boxes = torch.tensor([[10.0, 10.0, 8.0, 4.0, 0.3], [12.0, 10.0, 8.0, 4.0, 0.1]])
    watched = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            watched.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch(), OperatorCounter() as counter:
        overlaps = mmcv.ops.box_iou_rotated(boxes, boxes)
        assert _get_current_dispatch_mode() is not None
        overlaps.sum()
    assert counter.uncounted == {'mmcv.box_iou_rotated': 1, 'aten.sum': 1}
    assert not [name for name in watched if 'fill_' in name]
    assert torch.equal(overlaps, mmcv.ops.box_iou_rotated(boxes, boxes))


@pytest.mark.newer_torch
def test_a_dispatched_operator_of_a_library_is_listed_too():
    torchvision = pytest.importorskip('torchvision')
    with OperatorCounter() as counter:
        torchvision.ops.nms(BOXES, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert counter.uncounted == {'torchvision.nms': 1}


@pytest.mark.newer_torch
def test_norms_pools_and_interpolation_are_listed_and_elementwise_is_not():
    layers = nn.Sequential(
        nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
    )
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    with OperatorCounter() as counter:
        (layers(images) * 2 + 1).sigmoid().mean().backward()
    assert set(counter.uncounted) == {
        'aten.native_batch_norm',
        'aten.native_batch_norm_backward',
        'aten.max_pool2d_with_indices',
        'aten.max_pool2d_with_indices_backward',
        'aten.upsample_nearest2d',
        'aten.upsample_nearest2d_backward',
        'aten.mean',
    }


@pytest.mark.newer_torch
def test_forward_and_backward_apart():
    a, b = torch.rand(4, 5, requires_grad=True), torch.rand(5, 6, requires_grad=True)
    with OperatorCounter() as counter:
        loss = (a @ b).sum()
        assert (counter.forward, counter.backward) == (LINEAR, 0)
        loss.backward()
    assert (counter.forward, counter.backward) == (LINEAR, 2 * LINEAR)
    assert sum(counter.by_operator.values()) == 3 * LINEAR


@pytest.mark.newer_torch
@pytest.mark.parametrize('reentrant', [False, True])
def test_what_a_checkpoint_does_again_is_paid_in_the_backward_pass(reentrant):
    a, b = torch.rand(4, 5, requires_grad=True), torch.rand(5, 6, requires_grad=True)
    with OperatorCounter() as counter:
        checkpoint(lambda a, b: (a @ b).relu(), a, b, use_reentrant=reentrant).sum().backward()
    assert (counter.forward, counter.backward) == (LINEAR, 3 * LINEAR)


@pytest.mark.newer_torch
@pytest.mark.parametrize('activation', [nn.functional.silu, nn.functional.mish])
def test_gradients_are_the_same_bits(activation):
    """torch's counter alone computes those of SiLU and Mish by another formula."""
    data = torch.randn(64, 64, generator=torch.manual_seed(0)).requires_grad_()
    (wanted,) = torch.autograd.grad(activation(data).sum(), data)
    with OperatorCounter():
        (found,) = torch.autograd.grad(activation(data).sum(), data)
    assert torch.equal(found, wanted)


@pytest.mark.newer_torch
def test_the_optimizer_is_not_listed():
    weight = nn.Parameter(torch.rand(5, 6))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with OperatorCounter() as counter:
        (torch.rand(4, 5) @ weight).square().mean().backward()
        optimizer.step()
        weight.detach().sum()  # as a hook that looks at the weights
    assert 'aten.sum' not in counter.uncounted and 'aten.mean' in counter.uncounted


@pytest.mark.newer_torch
def test_an_error_inside_leaves_no_trace():
    (extension,) = (sys.modules[name] for name in EXTENSIONS)
    before = dict(vars(extension))
    with pytest.raises(ZeroDivisionError), OperatorCounter():
        assert vars(extension)['nms'] is not before['nms']
        torch.ones(1) / (1 // 0)
    assert dict(vars(extension)) == before
    assert _get_current_dispatch_mode() is None


def test_torch_without_a_counter(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.flop_counter', None)
    assert compat.flop_counter() is None
    with pytest.raises(ImportError, match='torch 2.1 or newer'):
        OperatorCounter()


def test_per_image():
    step = StepFlops(10, 21, dict(mm=31), {'mmcv.nms': 2}).per_image(2)
    assert (step.forward, step.backward, step.total) == (5, 10, 15)
    assert step.by_operator == dict(mm=15) and step.uncounted == {'mmcv.nms': 2}
