"""Training in a plain loop, for the tests of the regulariser: no hook, no wrapper, no runner."""

from typing import Any, Callable, Optional

import rig
import torch

Tensors = dict[str, torch.Tensor]
# Batches can be averaged by hand, and every branch of a residual block has a gradient at once.
FIXED = rig.detector(backbone=dict(rig.resnet(), norm_eval=True, zero_init_residual=False))
SGD = dict(type='SGD', lr=0.01)


def batch_of(images: list[int], rotated: bool = False) -> dict[str, list]:
    scenes = rig.DrawnScenes(8, rotated=rotated)
    items = [scenes[i] for i in images]
    return {key: [item[key] for item in items] for key in items[0]}


def gradients(state: Tensors, batches: list[list[int]], model: Optional[dict] = None) -> Tensors:
    """Mean over batches of the gradients of the detection loss, summed up in float64."""
    net = rig.build(model or FIXED)
    net.load_state_dict(state)
    net.train()
    total: Tensors = {}
    for images in batches:
        net.zero_grad()
        data = net.data_preprocessor(batch_of(images), True)
        loss, _ = net.parse_losses(net(**data, mode='loss'))
        loss.backward()
        for name, p in net.named_parameters():
            if p.grad is not None:
                total[name] = total.get(name, 0) + p.grad.double() / len(batches)
    return total


def importance(state: Tensors, batches: list[list[int]], kind: str, model: Any = None) -> Tensors:
    """Importance of the backbone by the definitions, in float64."""
    if kind == 'fisher':
        batches = [[image] for images in batches for image in images]
    total: Tensors = {}
    for images in batches:
        for name, g in gradients(state, [images], model).items():
            if not name.startswith('backbone.'):
                continue
            w = state[name].double()
            if kind == 'rgn':
                g, w = abs(g), abs(w)
                if g.dim() == 4:
                    g, w = g.sum((2, 3), keepdim=True), w.sum((2, 3), keepdim=True)
                score = g / (w + 1e-8)
            else:
                score = abs(g) if kind == 'ewc' else g * g
            total[name] = total.get(name, 0) + score / len(batches)
    return total


def train(
    state: Tensors,
    windows: list[list[list[int]]],
    anchor: Tensors,
    weights: Optional[Tensors],
    coeff: float,
    lr: Callable[[str], float] = lambda name: SGD['lr'],
    clip: Optional[float] = None,
    model: Optional[dict] = None,
    frozen: Callable[[int], bool] = lambda step: False,
) -> list[Tensors]:
    """States after each step of plain SGD with the penalty; a window is the batches of one step."""
    states = []
    state = {n: t.clone() for n, t in state.items()}
    for step, batches in enumerate(windows):
        found = gradients(state, batches, model)
        if frozen(step):
            found = {n: g for n, g in found.items() if not n.startswith('backbone.')}
        if clip is not None:
            norm = sum(float((g**2).sum()) for g in found.values()) ** 0.5
            found = {n: g * min(1.0, clip / (norm + 1e-6)) for n, g in found.items()}
        for name, g in found.items():
            p = state[name].double()
            if name.startswith('backbone.'):
                strength = torch.tensor(coeff).double()
                if weights is not None:
                    strength = (coeff * weights[name]).clamp(0, 1 / lr(name))
                g = g + strength * (p - anchor[name].double())
            state[name] = (p - lr(name) * g).to(state[name].dtype)
        states.append({n: t.clone() for n, t in state.items()})
    return states
