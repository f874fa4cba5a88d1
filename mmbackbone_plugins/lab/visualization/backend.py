"""Matplotlib, imported only when something is drawn."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Union

# Okabe and Ito's colours: told apart with every common colour vision deficiency.
COLORS = ('#E69F00', '#56B4E9', '#F0E442', '#CC79A7', '#D55E00', '#0072B2', '#009E73')


def settle_backend() -> None:
    """Drops an ``MPLBACKEND`` that is not here: matplotlib could not even be imported with it.

    Shells of notebooks hand theirs on to what they start, in environments without it. Of processes
    that are started later the variable is taken away too.
    """
    name = os.environ.get('MPLBACKEND')
    if not name or 'matplotlib' in sys.modules:
        return
    del os.environ['MPLBACKEND']
    try:
        import matplotlib
    except ImportError:
        return  # nothing will be drawn
    try:
        matplotlib.RcParams(backend=name)
        module = name.partition('module://')[2]
        here = not module or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        here = False
    if here:
        matplotlib.rcParams['backend'] = os.environ['MPLBACKEND'] = name


def pyplot() -> Any:
    """Returns ``matplotlib.pyplot`` for writing files; an ImportError says how to install it."""
    settle_backend()
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            'drawing needs matplotlib: pip install "mmbackbone_plugins[lab]"'
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
