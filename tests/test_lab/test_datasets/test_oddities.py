"""What the checker says of odd files, held against what MMRotate's datasets and loader do."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from PIL import Image

from mmbackbone_plugins.lab.datasets import check_splits, splits_of_config
from mmbackbone_plugins.lab.launch import register_modules

SIZE = (120, 80)  # width and height
PIPELINE = (
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
)
LINE = '10 10 100 10 100 30 10 30 ship 0\n'
CORNERS = 'x_left_top y_left_top x_right_top y_right_top x_right_bottom y_right_bottom'.split()
CORNERS += ['x_left_bottom', 'y_left_bottom']
OBB = ''.join(f'<{k}>{v}</{k}>' for k, v in zip(CORNERS, (10, 10, 100, 10, 100, 30, 10, 30)))
OBJECT = f'<object><name>ship</name><robndbox>{OBB}</robndbox></object>'
XML = f'<annotation><size><width>120</width><height>80</height></size>{OBJECT}</annotation>'
HBB = XML.replace(
    f'<robndbox>{OBB}</robndbox>',
    '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>',
)
MARK = b'\xef\xbb\xbf'
NOISE = np.random.default_rng(0).integers(0, 256, (80, 120, 3)).astype('uint8')


@pytest.fixture(scope='module', autouse=True)
def _modules():
    register_modules()


class Dota:
    """Two pictures, ``a`` with a box and ``b`` without."""

    def __init__(self, root):
        self.root, self.images, self.labels = root, root / 'images', root / 'annfiles'
        self.picture, self.label = self.images / 'a.png', self.labels / 'a.txt'
        self.images.mkdir(parents=True)
        self.labels.mkdir()
        for name, text in (('a', LINE), ('b', '')):
            Image.fromarray(NOISE).save(self.images / f'{name}.png')
            (self.labels / f'{name}.txt').write_text(text)

    def dataset(self, **options):
        prefix = dict(img_path='images')
        dataset = dict(type='DOTADataset', data_root=str(self.root), ann_file='annfiles/')
        return dict(dict(dataset, data_prefix=prefix, pipeline=list(PIPELINE)), **options)


class Dior:
    """As DIOR-R: a list, and a label file in XML of each picture."""

    def __init__(self, root):
        self.root, self.images = root, root / 'images'
        self.labels, self.list = root / 'Annotations/Oriented Bounding Boxes', root / 'train.txt'
        self.picture, self.label = self.images / 'a.jpg', self.labels / 'a.xml'
        self.images.mkdir(parents=True)
        self.labels.mkdir(parents=True)
        self.list.write_text('a\nb\n')
        for name, text in (('a', XML), ('b', XML.replace(OBJECT, ''))):
            Image.fromarray(NOISE).save(self.images / f'{name}.jpg')
            (self.labels / f'{name}.xml').write_text(text)

    def dataset(self, **options):
        dataset = dict(type='DIORDataset', data_root=str(self.root), ann_file='train.txt')
        prefix = dict(img_path='images')
        return dict(dict(dataset, data_prefix=prefix, pipeline=list(PIPELINE)), **options)


def training(dataset):
    """Pictures and boxes by class that training has, or the error at which it stops."""
    with DefaultScope.overwrite_default_scope('mmrotate'):
        try:
            loaded = DATASETS.build(dataset)
            samples = [loaded[i] for i in range(len(loaded))]
        except Exception as error:
            return error
    classes = loaded.metainfo['classes']
    return len(loaded), Counter(classes[i] for s in samples for i in s.get('gt_bboxes_labels', ()))


def compared(dataset, **options):
    """The checker's report, after it has been held against training."""
    trained = training(dataset)
    report = check_splits(
        splits_of_config(Config(dict(train_dataloader=dict(dataset=dataset)))), **options
    )
    stops = [flaw for _, flaw in report.flaws if flaw.stops]
    if isinstance(trained, Exception):
        assert stops, f'training stops at {trained!r}, the checker says: {report.flaws}'
    else:
        assert not stops, f'training has {trained}'
        assert report.splits[0].used == trained[0]
        if 'indices' not in dataset:  # of files in the order in which a disk has them
            assert +report.splits[0].classes == trained[1]
    return report


def kinds(report):
    return [flaw.kind for _, flaw in report.flaws]


def write(content):
    """A change that overwrites the label file."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda data_set: data_set.label.write_bytes(data)


def save(*arguments, **options):
    """A change that overwrites the picture, by Pillow."""
    return lambda d: Image.fromarray(NOISE).save(d.picture, *arguments, **options)


def converted(mode, **options):
    return lambda d: Image.fromarray(NOISE).convert(mode).save(d.picture, **options)


def array(values, suffix='.png'):
    """A change that overwrites the picture, by OpenCV or tifffile."""

    def change(data_set):
        if suffix == '.png':
            assert cv2.imwrite(str(data_set.picture), values)
        else:
            tifffile = pytest.importorskip('tifffile')
            photometric = 'minisblack' if values.ndim == 2 else 'rgb'
            tifffile.imwrite(str(data_set.picture), values, photometric=photometric)

    return change


def cut(share):
    return lambda d: d.picture.write_bytes(
        d.picture.read_bytes()[: int(share * d.picture.stat().st_size)]
    )


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def hidden(data_set):
    for folder in (data_set.images, data_set.labels):
        for path in list(folder.iterdir()):
            (folder / f'._{path.name}').write_bytes(b'\x00\x05\x16\x07\xff\xfe')
        (folder / '.DS_Store').write_bytes(b'x')


def beside(data_set):
    (data_set.root / 'notes.txt').write_bytes('donn\u00e9es\n'.encode('latin-1'))
    (data_set.root / '._train.txt').write_bytes(b'\xff\xfe')


def folder_for_label(data_set):
    data_set.label.unlink()
    data_set.label.mkdir()


def dangling(data_set):
    data_set.picture.unlink()
    data_set.picture.symlink_to('/nonexistent')


def nested(data_set):
    data_set.label.write_text(XML.replace(OBJECT, f'<part>{OBJECT}</part>'))


def turned_tiff(data_set):
    Image.fromarray(NOISE).save(data_set.picture, 'tiff', tiffinfo={0x112: 6})


DEEP = NOISE.astype('uint16')
TURNED = 'picture is turned when it is loaded'
UNREAD, UNLABELLED = 'picture cannot be read', 'label file cannot be read'
OUTSIDE = 'box outside of its picture'
MARKED, NUMBER = 'byte order mark', 'corner is no finite number'
OVER = LINE.replace('ship 0', 'ship 101')
DOTA = dict(
    nothing=(lambda d: None, []),
    byte_order_mark=(write(MARK + LINE.encode()), [MARKED]),
    windows_line_ends=(write(LINE.replace('\n', '\r\n') * 2), []),
    no_last_line_end=(write(LINE.strip()), []),
    tabs=(write(LINE.replace(' ', '\t')), []),
    more_fields=(write(LINE.replace(' 0\n', ' 0 extra\n')), []),
    form_feed=(write(LINE.replace(' 10 30', '\f10 30')), []),
    blank_line=(write(LINE + '\n'), ['line without 10 fields']),
    utf16=(write(LINE.encode('utf-16')), [UNLABELLED]),
    latin1=(write('10 10 100 10 100 30 10 30 b\u00e2teau 0\n'.encode('latin-1')), [UNLABELLED]),
    decimal_comma=(write(LINE.replace('100', '100,5')), [NUMBER]),
    not_a_number=(write(LINE.replace('100', 'nan')), [NUMBER]),
    header=(write('imagesource:GoogleEarth\ngsd:0.1\n' + LINE), ['line without 10 fields'] * 2),
    unknown=(write(LINE.replace('ship', 'ships')), ['unknown class']),
    capitals=(write(LINE.replace('ship', 'Ship')), ['unknown class']),
    no_area=(write('9 9 20 20 9 9 20 20 ship 0\n'), ['box without area']),
    outside=(write(LINE.replace('10 ', '500 ').replace('100', '590')), [OUTSIDE]),
    difficult=(write(OVER), []),
    fraction=(write(LINE.replace('ship 0', 'ship 0.5')), ['difficulty is no whole number']),
    hidden_files=(hidden, []),
    folder_for_label=(folder_for_label, [UNLABELLED]),
    dangling=(dangling, ['picture is missing']),
    # pictures
    exif=(save(exif=exif(6)), [TURNED]),
    mirrored=(save(exif=exif(2)), [TURNED]),
    no_orientation=(save(exif=exif(9)), []),
    turned_tiff=(
        lambda d: Image.fromarray(NOISE).save(d.picture, 'tiff', tiffinfo={0x112: 6}),
        [TURNED],
    ),
    webp=(save('webp', exif=exif(6)), None),  # by the version of OpenCV
    palette=(converted('P'), []),
    grey_alpha=(converted('LA'), []),
    one_bit=(converted('1'), []),
    grey=(converted('L'), []),
    alpha=(converted('RGBA'), []),
    print_colours=(converted('CMYK', format='tiff'), []),
    print_jpeg=(converted('CMYK', format='jpeg'), []),
    animated=(save('gif', save_all=True, append_images=[Image.fromarray(NOISE)]), []),
    pages=(save('tiff', save_all=True, append_images=[Image.fromarray(NOISE)]), []),
    sixteen_bits=(array(DEEP * 257), []),
    twelve_bits=(array(DEEP * 16), ['picture loses its contrast']),
    float_tiff=(array(NOISE / np.float32(255), '.tif'), None),
    float_grey=(array(NOISE[..., 0] / np.float32(255), '.tif'), None),
    double_tiff=(array(NOISE / 255.0, '.tif'), None),
    long_tiff=(array(NOISE[..., 0].astype('int32'), '.tif'), None),
    four_channels=(array(np.dstack([NOISE, NOISE[..., :1]]), '.tif'), None),
    six_channels=(array(np.dstack([NOISE, NOISE]), '.tif'), None),
    truncated=(cut(0.5), [UNREAD]),
    no_end=(cut(0.999), [UNREAD]),
    empty=(lambda d: d.picture.write_bytes(b''), [UNREAD]),
    text=(lambda d: d.picture.write_text('no picture'), [UNREAD]),
)
NAMED = '<?xml version="1.0" encoding="{}"?>' + XML
ACCENT = NAMED.format('latin-1').replace('ship', 'ship<!--\u00e9-->')
SIZES, STATED = 'size of the picture is no whole number', 'size in the label file is wrong'
LISTED, SPACES = 'list of pictures cannot be read', 'line of a list with spaces, or empty'
DIOR = dict(
    nothing=(lambda d: None, []),
    byte_order_mark=(write(MARK + XML.encode()), []),  # which XML allows
    utf16=(write(NAMED.format('utf-16').encode('utf-16')), []),
    latin1=(write(ACCENT.encode('latin-1')), []),
    unknown_encoding=(write(NAMED.format('foo-8')), [UNLABELLED]),
    gbk=(write(NAMED.format('gbk')), [UNLABELLED]),
    empty_label=(write(''), [UNLABELLED]),
    list_mark=(lambda d: d.list.write_bytes(MARK + b'a\nb\n'), [MARKED]),
    list_latin1=(lambda d: d.list.write_bytes(b'a\nb\n\xe9\n'), [LISTED]),
    list_windows=(lambda d: d.list.write_bytes(b'a\r\nb\r\n'), []),
    list_twice=(lambda d: d.list.write_text('a\nb\na\n'), ['listed more than once']),
    list_empty_line=(lambda d: d.list.write_text('a\nb\n\n'), [SPACES]),
    list_folder=(lambda d: (d.list.unlink(), d.list.mkdir()), [LISTED]),
    beside=(beside, []),
    hidden_files=(hidden, []),
    folder_for_label=(folder_for_label, [UNLABELLED]),
    dangling=(dangling, ['picture is missing']),
    capitals=(write(XML.replace('ship', 'Ship')), []),
    unknown=(write(XML.replace('ship', 'ships')), ['unknown class']),
    nested=(nested, []),
    no_number=(write(XML.replace('<x_left_top>10', '<x_left_top>')), [NUMBER]),
    no_corner=(write(XML.replace('x_right_top', 'x')), ['oriented box without all corners']),
    no_size=(write(XML.replace('size>', 'sizes>')), []),
    fraction=(write(XML.replace('<width>120', '<width>120.0')), [SIZES]),
    other_size=(write(XML.replace('<width>120', '<width>800')), [STATED]),
    exif=(save(exif=exif(6)), [TURNED]),
    mirrored=(save(exif=exif(4)), [TURNED]),
    truncated=(cut(0.7), [UNREAD]),
    print_colours=(converted('CMYK'), []),
)  # fmt: skip


@pytest.mark.parametrize(
    'kind, name', [*((Dota, name) for name in DOTA), *((Dior, name) for name in DIOR)]
)
def test_the_checker_says_what_training_does(kind, name, tmp_path):
    change, wanted = (DOTA if kind is Dota else DIOR)[name]
    data = kind(tmp_path / 'data')
    change(data)
    report = compared(data.dataset())
    assert wanted is None or kinds(report) == wanted
    for _, flaw in report.flaws:
        assert str(data.root) in flaw.where and f'{flaw.kind}: ' in report.text()
        assert name != 'unknown' or "'ships'; nearest: ship" in flaw.detail


def brackets(data_set):
    moved = data_set.root.with_name('data [v1]')
    data_set.root.rename(moved)
    data_set.root = moved


def no_boxes(data_set):
    data_set.label.write_text('' if isinstance(data_set, Dota) else XML.replace(OBJECT, ''))


def bad_empty_picture(data_set):
    (data_set.images / data_set.picture.name.replace('a', 'b')).write_bytes(b'')


def horizontal(data_set):
    data_set.label.write_text(HBB.replace('</annotation>', f'{OBJECT}</annotation>'))


def tiffs(data_set):
    for path in list(data_set.images.iterdir()):
        Image.fromarray(NOISE).save(path.with_suffix('.tif'))
        path.unlink()


FILTER = dict(filter_cfg=dict(filter_empty_gt=True))


def loader(**options):
    return dict(pipeline=[dict(PIPELINE[0], **options), PIPELINE[1]])


@pytest.mark.parametrize(
    'kind, change, options, wanted',
    [
        (Dota, None, FILTER, []),
        (Dior, None, FILTER, []),
        (Dota, None, dict(FILTER, test_mode=True), []),
        (Dota, no_boxes, FILTER, ['no picture is left']),
        (Dior, no_boxes, FILTER, ['no picture is left']),
        (Dota, bad_empty_picture, FILTER, [UNREAD]),
        (Dota, bad_empty_picture, {}, [UNREAD]),
        (Dior, None, dict(filter_cfg=dict(min_size=81)), ['no picture is left']),
        (Dior, None, dict(filter_cfg=dict(min_size=80)), []),
        (Dota, None, dict(indices=1), []),
        (Dota, None, dict(indices=[0, 1, 0]), []),
        (Dota, brackets, {}, ['path is a pattern']),
        (Dior, brackets, {}, []),
        (Dota, brackets, dict(ann_file='', pipeline=[]), ['path is a pattern']),
        (Dota, None, dict(ann_file='', pipeline=[]), []),
        (Dota, tiffs, dict(img_suffix='tif'), []),
        (Dota, tiffs, {}, ['file that nothing reads'] * 2 + ['picture is missing'] * 2),
        (Dior, horizontal, dict(ann_type='hbb'), ['object without box']),
        (Dior, horizontal, {}, ['object without name or oriented box']),
        (Dota, save(exif=exif(6)), loader(color_type='color_ignore_orientation'), []),
        (Dota, save(exif=exif(6)), loader(color_type='unchanged'), []),
        (Dota, save(exif=exif(6)), loader(imdecode_backend='pillow'), [TURNED]),
        (Dota, array(DEEP * 16), loader(color_type='unchanged'), []),
        (Dota, array(NOISE[..., 0] / np.float32(255), '.tif'), loader(color_type='unchanged'), []),
        (Dota, cut(0.5), loader(ignore_empty=True), [UNREAD]),
        (Dota, None, dict(metainfo=dict(classes=('harbor',))), ['unknown class']),
    ],
)
def test_settings_are_those_of_the_config(kind, change, options, wanted, tmp_path):
    data = kind(tmp_path / 'data')
    if change:
        change(data)
    assert kinds(compared(data.dataset(**options))) == wanted


def test_labels_of_the_turned_picture(tmp_path):
    """Whoever labelled what viewers show labelled what training loads."""
    data = Dior(tmp_path / 'data')
    save(exif=exif(8))(data)
    data.label.write_text(XML.replace('120', '80', 1).replace('<height>80', '<height>120'))
    assert not kinds(compared(data.dataset()))


@pytest.mark.parametrize('change', [save(exif=exif(6)), array(DEEP * 16), cut(0.0), converted('L')])
def test_headers_alone_say_the_same(change, tmp_path):
    """Where a header does not tell all, the picture is decoded though it was not asked for."""
    for kind in (Dota, Dior):
        data = kind(tmp_path / kind.__name__)
        change(data)
        quick, full = (compared(data.dataset(), decode=decode) for decode in (False, True))
        assert quick.flaws == full.flaws


def test_classes_in_a_file(tmp_path, monkeypatch):
    """mmengine reads them from there; a name that is no file is taken for letters."""
    monkeypatch.chdir(tmp_path)
    data = Dota(tmp_path / 'data')
    names = Path('names.txt')
    names.write_text('harbor\nship\n')
    report = compared(data.dataset(metainfo=dict(classes='names.txt')))
    assert report.splits[0].official is None and list(report.splits[0].classes) == [
        'harbor',
        'ship',
    ]
    names.write_bytes(MARK + b'ship\n')
    for classes, message in (
        ('names.txt', 'byte order mark'),
        ('ship', r"comma, \('ship',\)"),
        ('data', 'cannot be read'),
    ):
        with pytest.raises(ValueError, match=f'metainfo.classes.*{classes}.*{message}'):
            compared(data.dataset(metainfo=dict(classes=classes)))


def test_settings_with_which_training_cannot_be_built(tmp_path):
    data = Dota(tmp_path / 'data')
    for options, message in (
        (dict(data_prefix=dict(img='images')), "train: data_prefix needs 'img_path'.*images"),
        (loader(colour='red'), 'pipeline.*colour'),
        (dict(type='DIORDataset', ann_type='box'), "ann_type must be one of .*'hbb'.*'box'"),
    ):
        with pytest.raises(ValueError, match=message):
            compared(data.dataset(**options))


def test_a_loader_of_ones_own(tmp_path):
    """Pictures are loaded as the pipeline does, whatever the transform."""

    @TRANSFORMS.register_module(force=True)
    class LoadImageUpright:
        def __call__(self, results):
            image = cv2.imread(results['img_path'])
            assert image is not None, 'no picture'
            return dict(results, img=np.rot90(image), img_shape=(SIZE[0], SIZE[1]))

    data = Dior(tmp_path / 'data')
    pipeline = [dict(type='LoadImageUpright'), PIPELINE[1]]
    report = compared(data.dataset(pipeline=pipeline))
    assert kinds(report) == [STATED] * 2
    data.picture.write_bytes(b'x')
    assert UNREAD in kinds(compared(data.dataset(pipeline=pipeline)))


@pytest.mark.parametrize(
    'kind, ann_file, official',
    [(Dota, 'train', 1411), (Dota, 'trainval', 1869), (Dota, 'x', None), (Dior, 'trainval', 11725)],
)
def test_official_counts_are_those_of_the_folder(kind, ann_file, official, tmp_path):
    """MMRotate's own configs train, validate and test on trainval."""
    dataset = dict(kind(tmp_path / 'data').dataset())
    dataset['ann_file'] = f'{ann_file}/annfiles' if kind is Dota else f'{ann_file}.txt'
    (split,) = splits_of_config(Config(dict(train_dataloader=dict(dataset=dataset))))
    assert split.official == official
    dataset['metainfo'] = dict(classes=('ship',))
    (split,) = splits_of_config(Config(dict(train_dataloader=dict(dataset=dataset))))
    assert split.official is None
