import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from mmbackbone_plugins.lab.toy import dataset as toy_dataset
from mmbackbone_plugins.lab.toy import make_toy_dataset, read_manifest, toy_settings

SMALL = dict(counts=(5, 2, 1), size=128)


def contents(root):
    """Digest of every file by its path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(root).rglob('*'))
        if path.is_file()
    }


@pytest.mark.parametrize('fmt', ['dota', 'dior'])
def test_bytes_do_not_depend_on_run_or_workers(tmp_path, fmt):
    for name, workers in (('a', 0), ('b', 0), ('c', 2)):
        make_toy_dataset(tmp_path / name, fmt, workers=workers, **SMALL)
    first = contents(tmp_path / 'a')
    assert len(first) == 2 * 8 + (4 if fmt == 'dior' else 1)
    assert first == contents(tmp_path / 'b') == contents(tmp_path / 'c')


@pytest.mark.parametrize('fmt', ['dota', 'dior'])
def test_more_pictures_leave_the_others_as_they_are(tmp_path, fmt):
    make_toy_dataset(tmp_path / 'few', fmt, **SMALL)
    make_toy_dataset(tmp_path / 'many', fmt, counts=(7, 3, 2), size=128)
    few, many = contents(tmp_path / 'few'), contents(tmp_path / 'many')
    pictures = [name for name in few if name.endswith(('.png', '.jpg', '.xml')) or 'annf' in name]
    assert len(pictures) == 16
    assert all(few[name] == many[name] for name in pictures)


def test_manifest_counts_what_is_there(tmp_path):
    seen = []
    manifest = make_toy_dataset(
        tmp_path / 'toy', styles=('clear', 'haze'), progress=lambda *a: seen.append(a), **SMALL
    )
    assert seen == [(done, 8) for done in range(9)]
    assert manifest == read_manifest(tmp_path / 'toy')
    settings = toy_settings(styles=('clear', 'haze'), **SMALL)
    assert manifest['settings'] == settings
    assert manifest['splits']['train']['styles'] == {'clear': 3, 'haze': 2}
    for split in ('train', 'val', 'test'):
        texts = [p.read_text() for p in (tmp_path / 'toy' / split / 'annfiles').glob('*.txt')]
        lines = [line for text in texts for line in text.splitlines()]
        counted = manifest['splits'][split]
        assert (
            len(texts)
            == counted['images']
            == SMALL['counts'][('train', 'val', 'test').index(split)]
        )
        assert counted['background'] == sum(not text for text in texts)
        assert counted['difficult'] == sum(line.endswith(' 1') for line in lines)
        for name, count in counted['objects'].items():
            assert count == sum(line.split()[8] == name for line in lines)
    assert not list((tmp_path / 'toy').glob('toy.json.*'))


def test_existing_data_is_kept_unless_asked(tmp_path):
    root = tmp_path / 'toy'
    make_toy_dataset(root, **SMALL)
    before = contents(root)
    with pytest.raises(FileExistsError, match=r'toy holds a toy data set; overwrite=True'):
        make_toy_dataset(root, seed=1, **SMALL)
    assert contents(root) == before
    make_toy_dataset(root, 'dior', seed=1, overwrite=True, **SMALL)
    # Nothing of the old layout is left behind.
    assert not (root / 'train').exists() and (root / 'JPEGImages-test').is_dir()
    assert read_manifest(root)['settings']['seed'] == 1


@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_data_is_never_replaced(tmp_path, overwrite):
    """--overwrite on the real data set would be a disaster."""
    photo = tmp_path / 'train' / 'images' / 'P0001.png'
    photo.parent.mkdir(parents=True)
    photo.write_text('precious')
    with pytest.raises(FileExistsError, match='holds no toy data; choose another folder'):
        make_toy_dataset(tmp_path, overwrite=overwrite, **SMALL)
    assert photo.read_text() == 'precious' and list(tmp_path.iterdir()) == [tmp_path / 'train']
    with pytest.raises(FileExistsError, match='is a file'):
        make_toy_dataset(photo, overwrite=overwrite, **SMALL)


@pytest.mark.parametrize('workers', [0, 2])
def test_interrupted_run_is_noticed(tmp_path, workers):
    root = tmp_path / 'toy'

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_toy_dataset(root, workers=workers, progress=stop, **SMALL)
    assert read_manifest(root) is None
    with pytest.raises(FileExistsError, match='holds an unfinished toy data set'):
        make_toy_dataset(root, **SMALL)
    make_toy_dataset(root, overwrite=True, **SMALL)
    make_toy_dataset(tmp_path / 'other', **SMALL)
    assert contents(root) == contents(tmp_path / 'other')


def test_manifest_of_another_version_does_not_count(tmp_path):
    make_toy_dataset(tmp_path / 'toy', **SMALL)
    path = tmp_path / 'toy' / 'toy.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'version': -1}))
    assert read_manifest(tmp_path / 'toy') is None
    assert read_manifest(tmp_path / 'nothing') is None


@pytest.mark.parametrize(
    'bad, message',
    [
        (dict(fmt='coco'), r"fmt must be one of \['dior', 'dota'\], got 'coco'"),
        (dict(counts=(1, -1, 0)), r"counts\['val'\] must be a whole number from 0 .* got -1"),
        (dict(counts=(1, 1.5, 0)), r"counts\['val'\] must be a whole number .* got 1.5"),
        (dict(counts=(True, 0, 0)), r"counts\['train'\] must be a whole number .* got True"),
        (dict(counts=(1, 1)), r'counts must be three numbers .* got \[1, 1\]'),
        (dict(counts={'dev': 1}), r"counts must be for .*'train'.* got 'dev'"),
        (dict(counts=(0, 0, 0)), 'at least one picture, got 0 in every split'),
        (dict(counts=(5863, 0, 0), fmt='dior'), r'from 0 to 5862, got 5863'),
        (dict(size=64), 'size must be a whole number from 128 to 4096, got 64'),
        (dict(seed=-1), 'seed must be a whole number from 0 .* got -1'),
        (dict(styles=['fog']), r"styles must be among \['clear', .* got 'fog'"),
        (dict(styles=[]), r"styles must be among .* got ''"),
        (dict(classes=['airplane']), r"classes must be among \['baseball.* 'dota', got 'airplane'"),
        (dict(classes=['ship', 'ship']), "must not repeat a class, got 'ship' twice"),
        (dict(density=0), 'density must be above 0 and at most 64, got 0'),
        (dict(density=float('nan')), 'density must be above 0 .* got nan'),
        (dict(workers=-2), 'workers must be a whole number from 0 to 256, got -2'),
    ],
)
def test_bad_input_is_named_before_anything_is_written(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        make_toy_dataset(tmp_path / 'toy', **{**SMALL, **bad})
    assert not (tmp_path / 'toy').exists()


def tag_order(element):
    return [(child.tag, tag_order(child)) for child in element]


def test_xml_is_built_like_the_real_one(tmp_path, shared_data):
    real = shared_data / 'dior' / 'Annotations' / 'Oriented Bounding Boxes' / '00001.xml'
    make_toy_dataset(tmp_path, 'dior', **SMALL)
    texts = [p.read_text() for p in sorted(tmp_path.rglob('*.xml'))]
    text = next(text for text in texts if text.count('<object>') == 1 or '<object>' in text)
    real_text = real.read_text()
    assert text.splitlines()[0] == real_text.splitlines()[0]
    drawn, wanted = ET.fromstring(text), ET.fromstring(real_text)
    extra = drawn.findall('object')[1:]
    for node in extra:
        drawn.remove(node)
    assert tag_order(drawn) == tag_order(wanted)
    for node in extra:
        assert tag_order(node) == tag_order(wanted.find('object'))
    # Whole numbers wherever the real file has them.
    assert all(n.text.lstrip('-').isdigit() for n in drawn.find('object').find('robndbox'))
    indent = [len(line) - len(line.lstrip()) for line in text.splitlines()[:14]]
    assert indent == [len(line) - len(line.lstrip()) for line in real_text.splitlines()[:14]]


def test_label_lines_are_built_like_the_real_ones(tmp_path, shared_data):
    real = next((shared_data / 'dota' / 'annfiles').glob('*.txt')).read_text().splitlines()[0]
    make_toy_dataset(tmp_path, **SMALL)
    files = sorted(tmp_path.rglob('annfiles/*.txt'))
    lines = [line for path in files for line in path.read_text().splitlines()]

    def kinds(line):
        fields = line.split()
        return [('.' in field, field.replace('.', '').lstrip('-').isdigit()) for field in fields]

    assert lines and all(kinds(line) == kinds(real) for line in lines)


def test_import_needs_no_detector_stack():
    """The modules themselves use numpy and OpenCV; the package around them may need more."""
    folder = Path(toy_dataset.__file__).parent
    stack = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmrotate')
    for path in folder.rglob('*.py'):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (['import'], ['from']):
                assert words[1].split('.')[0] not in stack
