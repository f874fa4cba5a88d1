"""Tables, lists of names and durations as text."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], align: str = '') -> str:
    """Aligned columns, ``'<'`` or ``'>'`` for each; by default ``'<>>...'``."""
    align = align or '<' + '>' * (len(rows[0]) - 1)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join(
        '  '.join(f'{c:{a}{w}}' for c, a, w in zip(row, align, widths)).rstrip() for row in rows
    )


def some(names: Sequence[str], most: int) -> str:
    """The first few of some names, and how many more there are."""
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


def duration_text(seconds: float) -> str:
    """Seconds as people say them: ``12.3 s``, ``4 min 05 s``, ``2 h 07 min``."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min {rest:02d} s'
