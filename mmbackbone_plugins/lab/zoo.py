"""The configs that come with the package, found by name as ``mim`` finds them."""

import os
from pathlib import Path

from ..utils.names import nearest

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_configs() -> dict[str, Path]:
    """Configs of the zoo by name, ``dbf/<file>.py``: an installed copy's, else the checkout's."""
    for folder in (_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs'):
        if folder.is_dir():
            found = {path.relative_to(folder): path for path in sorted(folder.rglob('*.py'))}
            return {n.as_posix(): path for n, path in found.items() if '_base_' not in n.parts}
    return {}


def find_config(path: str) -> str:
    """Path of a config: the file itself, or one of the zoo.

    A config of the zoo goes by its file's name or by its path in ``configs/``, with or without
    ``.py``, from any working directory. A path that leads elsewhere is never looked up by its
    file's name: a mistyped path to somebody's own copy must not run the original.

    Raises:
        FileNotFoundError: If there is neither; the message names the nearest of the zoo.
    """
    if os.path.isfile(path):
        return path
    shipped = shipped_configs()
    name = Path(os.path.normpath(path)).as_posix()
    name = name.removeprefix('configs/') + ('' if name.endswith('.py') else '.py')
    for known, file in shipped.items():
        if name in (known, file.name):
            return str(file)
    stems = [file.stem for file in shipped.values()]
    near = nearest(Path(name).stem, stems, 3, 0.5)
    raise FileNotFoundError(f'config {path!r} does not exist{near}')
