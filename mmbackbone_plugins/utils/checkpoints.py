"""Reads files of weights: checkpoints, anchors, importance; one reader for all of them.

What comes along under the name of a checkpoint is often something else: half of a file, the pointer
that Git LFS leaves, the login page of a server. Each is one line of an error.
"""

import os
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch

PathLike = Union[str, Path]

# What mmengine reads, and where other packages (timm, detectron2, DeiT, ...) keep their weights.
OWN = ('state_dict',)
NESTED = (*OWN, 'model', 'model_state_dict', 'module', 'net', 'network', 'weights')

# How files begin that are not checkpoints, in small letters.
OTHERS = {
    b'version https://git-lfs': 'is a pointer of Git LFS, not the file itself: run git lfs pull',
    b'/annex/objects': 'is a pointer of git-annex, not the file itself: run git annex get',
    b'<!doctype': 'is a web page, not a checkpoint: the download failed; fetch it again',
    b'<html': 'is a web page, not a checkpoint: the download failed; fetch it again',
    b'<?xml': "is a server's answer in XML, not a checkpoint: the download failed; fetch it again",
    b'{': 'is JSON, not a checkpoint: a list of shards, or the answer of a server',
    b'\x1f\x8b': 'is packed by gzip: unpack it',
    b'\x89hdf': 'is HDF5 (Keras), not a checkpoint of PyTorch',
    b'\x93numpy': 'is a NumPy array, not a checkpoint of PyTorch',
}


def is_address(path: PathLike) -> bool:
    """Whether a checkpoint is an address (``https://...``, ``torchvision://...``), not a file."""
    return '://' in str(path)


def defect(path: PathLike, whole: bool = True) -> Optional[str]:
    """Why a checkpoint cannot be loaded, as far as its file shows; None if it can.

    The rest of a sentence that begins with the file. A checkpoint of PyTorch is a zip file with its
    list of contents at the end, so that one that was cut off while it was written has none; or, of
    PyTorch before 1.6, a pickle. ``whole``: every byte is checked, not the list of contents alone.
    """
    path = Path(path)
    if not path.is_file():
        folder = 'is a folder, not a checkpoint'
        return folder if path.is_dir() else 'is no file' if path.exists() else 'is not there'
    try:
        with path.open('rb') as file:
            start = file.read(64)
        if not start:
            return 'is torn or damaged (it is empty)'
        if is_safetensors(path):
            named = path.suffix == '.safetensors'
            return None if named else 'is a safetensors file: let its name end in .safetensors'
        text = start.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
        for mark, what in OTHERS.items():
            if text.startswith(mark):
                return what
        if start.startswith(b'\x80'):
            return None  # a pickle: reading it tells
        if not start.startswith(b'PK'):
            return f'is torn or damaged, or no checkpoint at all: it begins with {start[:16]!r}'
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition('/')[2] for name in archive.namelist()]
            if 'data.pkl' not in names:
                return f'is a zip archive of other files ({", ".join(names[:3])}), not a checkpoint'
            if 'constants.pkl' in names:
                return 'is a TorchScript model: save the state_dict() of torch.jit.load(FILE)'
            broken = archive.testzip() if whole else None
    except PermissionError as error:
        return f'may not be read ({error.strerror})'
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error) as error:
        return f'is torn or damaged ({error})'
    return f'is damaged (in {broken})' if broken else None


def is_safetensors(path: PathLike) -> bool:
    """Whether a file is one of safetensors, as its first bytes show."""
    path = Path(path)
    with path.open('rb') as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], 'little')  # of the header, which is JSON
    return start[8:] == b'{' and 8 + length <= path.stat().st_size


def read_safetensors(path: PathLike, map_location: Any = None) -> dict[str, torch.Tensor]:
    """Reads a file of safetensors; an ImportError if the package for it is not installed."""
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f'{str(path)!r} needs: pip install safetensors') from error
    return load_file(path, device=str(map_location or 'cpu'))


def check(path: PathLike, label: Optional[str] = None) -> None:
    """Looks at a checkpoint without reading it; addresses are left to the loader.

    ``label`` is how messages begin that name the file. A FileNotFoundError if there is none; a
    ValueError if it is torn, or something else than a checkpoint.
    """
    if is_address(path):
        return
    label, local = label or f'checkpoint {str(path)!r}', Path(path).expanduser()
    if not local.exists():  # git-annex and caches leave links to what they have not fetched
        link = f': it is a link to {os.readlink(local)!r}' if local.is_symlink() else ''
        raise FileNotFoundError(f'{label} does not exist{link}')
    if why := defect(local, whole=False):
        raise ValueError(f'{label} cannot be read: it {why}')


def read(path: PathLike, label: Optional[str] = None, weights_only: bool = False) -> Mapping:
    """Reads a checkpoint, a mapping, into the memory of the CPU.

    Errors are those of :func:`check`, in one line. ``weights_only``: nothing but tensors and plain
    values may be in it.
    """
    label = label or f'checkpoint {str(path)!r}'
    check(path, label)
    try:
        if weights_only:
            found = torch.load(path, map_location='cpu', weights_only=True)
        else:
            from mmengine.runner import CheckpointLoader  # knows addresses, and safetensors by us

            found = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except Exception as error:  # torch raises many kinds for a torn or strange file
        why = f'{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}'
        raise ValueError(f'{label} cannot be read ({why})') from error
    if not isinstance(found, Mapping):
        raise ValueError(
            f'{label} holds a {type(found).__name__}, not weights: save its state_dict()'
        )
    return found


def weights_of(
    checkpoint: Mapping, label: str, places: Collection[str] = NESTED
) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint by name, without the prefix of a distributed wrapper.

    It is a state dict, or a mapping with one in it under one of ``places``; the first counts.
    """
    inside = (checkpoint[key] for key in places if isinstance(checkpoint.get(key), Mapping))
    state = next(inside, checkpoint)
    found = OrderedDict(
        (name.removeprefix('module.'), tensor)
        for name, tensor in state.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    )
    if hasattr(state, '_metadata'):
        # Versions, by which modules know what to rename.
        found._metadata = state._metadata  # type: ignore[attr-defined]
    if not found:
        keys = ', '.join(repr(key) for key in list(checkpoint)[:5]) or 'nothing'
        raise ValueError(
            f'{label} has no weights where they are looked for (at its top, or under '
            f'{" or ".join(map(repr, places))}); it holds {keys}'
        )
    return found


def other_prefix(found: Collection[str], wanted: Collection[str]) -> str:
    """Says if all names that are wanted are there under another prefix; else it is empty."""
    first = next(iter(wanted), '')
    parts = first.split('.')
    for cut in range(len(parts)):
        new, tail = ''.join(f'{p}.' for p in parts[:cut]), '.'.join(parts[cut:])
        within = [name[len(new) :] for name in wanted if name.startswith(new)]
        for old in sorted({name[: -len(tail)] for name in found if name.endswith(tail)}):
            if old != new and (not old or old.endswith('.')) and len(within) == len(wanted):
                if all(f'{old}{name}' in found for name in within):
                    return f'. All of them are there as {old + tail!r} for {first!r}'
    return ''


def fitting_prefix(found: Collection[str], wanted: Collection[str]) -> Optional[str]:
    """What stands before most of the names that are wanted; None if fewer than half are there."""
    inside, counts = set(wanted), Counter[str]()
    for name in found:
        starts = [0, *(i + 1 for i, c in enumerate(name) if c == '.')]
        counts.update(name[:i] for i in starts if name[i:] in inside)
    prefix, count = max(counts.items(), key=lambda item: item[1], default=('', 0))
    return prefix if 2 * count >= len(inside) > 0 else None
