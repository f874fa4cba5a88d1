"""Files of spectra."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np

from ..utils.files import atomic_write
from .spectrum import Spectrum, SpectrumSummary

INFO = '__info__'  # the one entry that is no layer


@dataclass(frozen=True)
class Spectra:
    """Spectra by layer, in the order of computation, and how and when they were measured."""

    layers: dict[str, Spectrum]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def rank_limited(self) -> list[str]:
        """Layers that had fewer samples than channels, each with the two numbers."""
        return [
            f'{name} ({s.summary.samples} positions, {s.summary.width} channels)'
            for name, s in self.layers.items()
            if s.summary.rank_limited
        ]


def save_spectra(path: Union[str, Path], spectra: Spectra) -> None:
    """Writes a ``.npz`` at one go: eigenvalues by layer, and ``__info__``, a text of JSON."""
    summaries = {name: s.summary.to_dict() for name, s in spectra.layers.items()}
    text = json.dumps(dict(info=spectra.info, summaries=summaries))
    content: dict[str, Any] = {INFO: np.array(text)}
    content.update((name, s.eigenvalues) for name, s in spectra.layers.items())
    with atomic_write(Path(path), 'wb') as file:
        np.savez_compressed(file, **content)


def load_spectra(path: Union[str, Path]) -> Spectra:
    """Reads such a file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no file of spectra.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'file of spectra {str(path)!r} does not exist')
    try:
        with np.load(path, allow_pickle=False) as file:
            content = json.loads(str(file[INFO]))
            layers = {
                name: Spectrum(file[name], SpectrumSummary(**summary))
                for name, summary in content['summaries'].items()
            }
    except Exception as error:  # a zip, a key or JSON may be broken
        raise ValueError(f'{str(path)!r} is no file of spectra: {error}') from error
    return Spectra(layers, content['info'])
