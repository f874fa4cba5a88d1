"""Pictures as training loads them, and what is lost on the way."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from ...utils.names import type_name
from .labels import Flaw

_TURNS = range(2, 9)  # EXIF orientations that move pixels
_FAINT = 32  # of 256 levels; fewer, and a network sees next to nothing


class Picture(NamedTuple):
    """A picture as it is loaded: width and height or None, its orientation if followed, flaws."""

    size: Optional[tuple[int, int]]
    turned: int
    flaws: list[Flaw]


class _Header(NamedTuple):
    size: tuple[int, int]
    mode: str
    format: str
    orientation: int
    deep: bool


def build_loader(config: Optional[dict[str, Any]] = None) -> Callable[[dict[str, Any]], Any]:
    """Builds the transform that loads pictures; None: the usual one of mmcv."""
    from mmcv.transforms import LoadImageFromFile
    from mmengine.registry import TRANSFORMS, DefaultScope

    config = config or dict(type='LoadImageFromFile')
    try:
        if type_name(config) == 'LoadImageFromFile':  # that of mmdet and mmrotate
            own = {k: v for k, v in config.items() if k not in ('type', '_scope_')}
            return LoadImageFromFile(**own)
        with DefaultScope.overwrite_default_scope('mmrotate'):
            return TRANSFORMS.build(config)
    except (KeyError, TypeError) as error:
        raise ValueError(f'pipeline: {config} cannot be built: {error}') from error


def look_at(path: Path, load: Callable, decode: bool = True) -> Picture:
    """Loads a picture as training does, or reads only its header where that tells all."""
    header = damage = None
    try:
        header = _header(path)
        if not decode and header.orientation not in _TURNS and not header.deep:
            return Picture(header.size, 1, [])
        with _opened(path) as image:
            image.load()
    except Exception as error:  # whatever a broken file makes of the decoder
        damage = error
    kind, detail = 'picture cannot be read', str(damage or '')
    if isinstance(damage, FileNotFoundError):
        kind, detail = 'picture is missing', 'its label is there or it is listed'
    try:
        loaded = load(dict(img_path=str(path)))
    except Exception as error:
        reason = str(error).strip().partition('\n')[0]
        if header is None and kind == 'picture cannot be read':
            detail = f'training cannot read it: {reason}'
        elif not damage:
            detail = f'training cannot read mode {header.mode} of it: {reason}'
        return Picture(None, 1, [Flaw(kind, str(path), detail, stops=True)])
    if loaded is None:
        detail += '; training takes another one instead'
        return Picture(None, 1, [Flaw(kind, str(path), detail)])
    image, flaws = loaded['img'], []
    if damage and header:
        # OpenCV fills the missing part of a truncated JPEG with grey and says nothing.
        flaws.append(Flaw(kind, str(path), f'{detail}; training takes what is left'))
    flaws += _faded(path, image, load)
    height, width = image.shape[:2]
    turned = header.orientation if header and _is_turned(path, image, header, load) else 1
    return Picture((width, height), turned, flaws)


def _header(path: Path) -> _Header:
    with _opened(path) as image:
        orientation = 1
        # For a PNG without EXIF ahead of its pixels Pillow would decode those in search of it.
        if image.format != 'PNG' or 'exif' in image.info:
            orientation = image.getexif().get(0x0112, 1)
        # Pillow makes 8 bits of a PNG of 16 in colour, and tells only the decoder.
        deep = image.mode[0] in 'FI' or ';16' in str(image.tile)
        return _Header(image.size, image.mode, image.format, orientation, deep)


def _opened(path: Path) -> Any:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # whole scenes of DOTA are large, and no attack
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return Image.open(path)


def _is_turned(path: Path, image: Any, header: _Header, load: Any) -> bool:
    """Whether the loader follows the EXIF orientation of a picture."""
    import mmcv

    if header.orientation not in _TURNS or not _to_bytes(load):
        return False
    if header.format == 'TIFF':
        return True  # decoders turn these whatever they are told
    if load.color_type.endswith('_ignore_orientation'):
        return False
    raw = mmcv.imread(path, f'{load.color_type}_ignore_orientation', backend=load.imdecode_backend)
    return raw.shape != image.shape or bool((raw != image).any())


def _faded(path: Path, image: Any, load: Any) -> Iterable[Flaw]:
    """Whether little is left of a picture of more than 8 bits in the 8 that training takes."""
    import mmcv

    seen = float(image.max()) - float(image.min())
    if seen >= _FAINT or not _to_bytes(load):
        return
    raw = mmcv.imread(path, 'unchanged', backend=load.imdecode_backend)
    if raw is None or raw.dtype.itemsize == 1:
        return
    if float(raw.max()) - float(raw.min()) > seen:
        detail = (
            f'{raw.dtype} from {raw.min():g} to {raw.max():g} in the file, '
            f'from {image.min():g} to {image.max():g} of 255 in training'
        )
        yield Flaw('picture loses its contrast', str(path), detail)


def _to_bytes(load: Any) -> bool:
    """Whether a loader is mmcv's, and makes 8 bits of a value and follows an orientation."""
    color, backend = getattr(load, 'color_type', ''), getattr(load, 'imdecode_backend', '')
    return color.startswith(('color', 'grayscale')) and backend in ('cv2', 'pillow')
