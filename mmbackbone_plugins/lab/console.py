"""What every tool does first: whatever terminal and environment it meets, it prints and draws."""

import sys

from .visualization.backend import settle_backend


def adapt() -> None:
    r"""Lets no character that a terminal cannot show, and no ``MPLBACKEND``, end a tool.

    Paths and class names may hold any character; on a terminal that knows ASCII only the others
    come as ``\xe4``.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, 'errors', None) == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    settle_backend()
