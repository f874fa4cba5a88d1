"""Wrappers around a model, and around a method of one object."""

from typing import Any, Callable, cast

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside any wrapper."""
    while is_model_wrapper(model):
        model = cast(nn.Module, model.module)
    return model


def replace_method(owner: Any, name: str, method: Callable) -> Callable[[], None]:
    """Gives one object another method, and returns what takes it away again."""
    before = vars(owner).get(name)  # somebody else's, as a rule nobody's
    setattr(owner, name, method)

    def undo() -> None:
        if vars(owner).get(name) is not method:
            return  # somebody has wrapped it again: ours is harmless inside
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return undo
