"""Modes of modules, train and eval, set as modules set them themselves.

A mode is more than the flag ``training``: LeViT, TinyViT and EfficientFormer keep attention biases
as long as they are in eval mode, and backbones of MMDetection freeze their stages anew.
"""

from collections.abc import Iterable

from torch import nn


def set_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    """Brings modules into modes, through a ``train()`` of their own where they have one.

    Parents come before their children, because a ``train()`` reaches into the children. Those of a
    module with a ``train()`` of its own must be among them.
    """
    for module, training in modes:
        if module.training == training:
            continue
        # An instance can have a train() of its own as well. It may answer anything, so no chaining.
        if getattr(module.train, '__func__', None) is not nn.Module.train:
            module.train(training)
        # All that torch's own does to the module itself; and some do not let themselves be moved.
        module.training = training


def set_mode(module: nn.Module, training: bool) -> None:
    """Brings a module and all modules inside into one mode."""
    set_modes([(m, training) for m in module.modules()])
