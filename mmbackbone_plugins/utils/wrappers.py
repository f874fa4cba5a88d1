"""Distributed and other wrappers around a model."""

from typing import cast

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside any wrapper."""
    while is_model_wrapper(model):
        model = cast(nn.Module, model.module)
    return model
