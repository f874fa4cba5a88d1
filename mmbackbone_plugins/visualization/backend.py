"""Matplotlib, imported only when something is drawn."""

from pathlib import Path
from typing import Any, Union

# Okabe and Ito's colours: told apart with every common colour vision deficiency.
COLORS = ('#E69F00', '#56B4E9', '#F0E442', '#CC79A7', '#D55E00', '#0072B2', '#009E73')


def pyplot() -> Any:
    """Returns ``matplotlib.pyplot`` set up for writing files.

    Raises:
        ImportError: If matplotlib is not installed; the message says how to install it.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            'drawing needs matplotlib: pip install "mmbackbone_plugins[plots]"'
        ) from error
    # No display is needed; a backend that a notebook has chosen stays.
    if matplotlib.get_backend().lower() != 'agg' and 'inline' not in matplotlib.get_backend():
        matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    return plt


def plain(text: Any) -> str:
    """A name as it is: without this, matplotlib reads what stands between dollars as a formula."""
    return str(text).replace('$', r'\$')


def save(figure: Any, path: Union[str, Path], dpi: int = 130, **options: Any) -> None:
    """Writes a figure and closes it; the same figure gives the same bytes, dates are left out."""
    if Path(path).suffix == '.svg':
        options['metadata'] = {'Date': None}
    figure.savefig(path, dpi=dpi, **options)
    pyplot().close(figure)
