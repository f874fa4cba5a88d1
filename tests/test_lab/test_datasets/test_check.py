"""The checker on drawn data with every flaw planted, and against what MMRotate's datasets load."""

import json
import shutil
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import rig

from mmbackbone_plugins.lab.datasets import check_splits, splits_of_config, splits_of_root
from mmbackbone_plugins.lab.launch import load_config
from mmbackbone_plugins.lab.toy import make_toy_dataset, read_manifest

ROOT = Path(__file__).resolve().parents[3]
COUNTS = (6, 3, 3)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Whole data sets in both layouts, never changed."""
    folder = tmp_path_factory.mktemp('data')
    for fmt in ('dota', 'dior'):
        make_toy_dataset(folder / fmt, fmt, COUNTS, 128, classes=['ship', 'harbor'])
    return folder


@pytest.fixture
def data(drawn, tmp_path):
    """A copy of them to break."""
    shutil.copytree(drawn, tmp_path / 'data')
    return tmp_path / 'data'


def check(fmt, root, **options):
    return check_splits(splits_of_root(fmt, root), **options)


def kinds(report):
    return Counter(flaw.kind for _, flaw in report.flaws)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('fmt', ['dota', 'dior'])
def test_whole_data(fmt, workers, drawn):
    """Counts are those that the data were drawn with."""
    seen = []
    report = check(fmt, drawn / fmt, workers=workers, progress=lambda *a: seen.append(a))
    assert not report.flaws and 'nothing is wrong' in report.text()
    assert seen == [(i, 12) for i in range(1, 13)]
    manifest = read_manifest(drawn / fmt)['splits']
    for split in report.splits:
        wanted = manifest[split.name]
        assert (split.images, split.empty) == (wanted['images'], wanted['background'])
        assert split.difficult == wanted['difficult']
        assert +split.classes == +Counter(wanted['objects'])
    official = dict(dota=[1411, 458, 937], dior=[5862, 5863, 11738])[fmt]
    assert [split.official for split in report.splits] == official
    assert json.loads(json.dumps(report.to_dict()))['splits'][0]['boxes'] > 0


@pytest.mark.parametrize('fmt', ['dota', 'dior'])
def test_counts_are_those_that_mmrotate_loads(fmt, drawn):
    from mmengine.registry import DATASETS, DefaultScope

    loaders = [f'{part}_dataloader.dataset.data_root' for part in ('train', 'val', 'test')]
    cfg = load_config(
        str(ROOT / 'configs' / 'baselines' / f'oriented-rcnn-le90_r50_fpn_1x_{fmt}.py'),
        {key: f'{drawn / fmt}/' for key in loaders},
    )
    report = check_splits(splits_of_config(cfg))
    assert not report.flaws and [s.name for s in report.splits] == ['train', 'val', 'test']
    for split in report.splits[: 2 if fmt == 'dota' else 3]:  # DOTA's test split has no labels
        dataset = dict(cfg[f'{split.name}_dataloader'].dataset, test_mode=True)
        with DefaultScope.overwrite_default_scope('mmrotate'):
            loaded = DATASETS.build(dataset)
        infos = [loaded.get_data_info(i) for i in range(len(loaded))]
        labels = [one['bbox_label'] for info in infos for one in info['instances']]
        assert len(infos) == split.images
        assert Counter(loaded.metainfo['classes'][i] for i in labels) == +split.classes


def rewrite(path, change):
    path.write_text(change(path.read_text()))


def labelled(folder):
    """A label file with a box in it."""
    return next(p for p in sorted(folder.iterdir()) if p.read_text())


def test_raw_label_files(data):
    """Files as DOTA comes, before img_split.py: two header lines."""
    file = labelled(data / 'dota' / 'val' / 'annfiles')
    rewrite(file, lambda text: f'imagesource:GoogleEarth\ngsd:0.5\n{text}')
    report = check('dota', data / 'dota')
    assert kinds(report) == {'line without 10 fields': 2}
    assert 'img_split.py' in report.flaws[0][1].detail


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize('fmt', ['dota', 'dior'])
def test_broken_pictures(fmt, data):
    folder = data / fmt / ('val/images' if fmt == 'dota' else 'JPEGImages-test')
    first, second, third = sorted(p for p in folder.iterdir())[:3]
    cut_in_half(first)
    second.write_bytes(b'')
    third.write_text('no picture')
    found = check(fmt, data / fmt)
    assert kinds(found) == {'picture cannot be read': 3}
    assert {flaw.where for _, flaw in found.flaws} == {str(p) for p in (first, second, third)}
    assert kinds(check(fmt, data / fmt, decode=False)) == {'picture cannot be read': 2}


def test_missing_files_of_dota(data):
    train = data / 'dota' / 'train'
    pictures = sorted((train / 'images').iterdir())
    pictures[0].unlink()
    (train / 'annfiles' / f'{pictures[1].stem}.txt').unlink()
    shutil.copy(pictures[2], train / 'images' / 'P9999.jpg')
    found = check('dota', data / 'dota')
    assert kinds(found) == {
        'picture is missing': 1,
        'picture without a label file': 1,
        'file that nothing reads': 1,
    }
    assert found.splits[0].images == 4


def test_missing_files_of_dior(data):
    root = data / 'dior'
    listing = root / 'ImageSets' / 'Main' / 'train.txt'
    first, second, third, fourth, *_ = listing.read_text().split()
    (root / 'JPEGImages-trainval' / f'{first}.jpg').unlink()
    (root / 'Annotations' / 'Oriented Bounding Boxes' / f'{second}.xml').unlink()
    rewrite(listing, lambda text: text.replace(f'{third}\n', '').rstrip() + f'\n{fourth}\n\n')
    found = check('dior', root)
    assert kinds(found) == {
        'picture is missing': 1,
        'label file is missing': 1,
        'picture in no list': 1,
        'listed more than once': 1,
        'line of a list with spaces, or empty': 1,
    }
    named = {flaw.kind: f'{flaw.where} {flaw.detail}' for _, flaw in found.flaws}
    assert f'{first}.jpg' in named['picture is missing'] and third in named['picture in no list']
    assert f'{fourth}, 2 times' in named['listed more than once']


def test_missing_folders(data):
    shutil.rmtree(data / 'dota' / 'val')
    (data / 'dior' / 'ImageSets' / 'Main' / 'test.txt').unlink()
    found = kinds(check('dota', data / 'dota'))
    assert found == {'folder of pictures is missing': 1, 'folder of labels is missing': 1}
    assert kinds(check('dior', data / 'dior')) == {'list of pictures is missing': 1}


def test_empty_splits(data):
    for path in (data / 'dota' / 'val').rglob('*.*'):
        path.unlink()
    (data / 'dior' / 'ImageSets' / 'Main' / 'val.txt').write_text('')
    assert kinds(check('dota', data / 'dota')) == {'split is empty': 1}
    found = kinds(check('dior', data / 'dior'))
    assert found == {'split is empty': 1, 'picture in no list': COUNTS[1]}


def test_trained_and_tested_on_the_same(data):
    """Patches of one scene in two splits; DIOR-R: a name in two lists."""
    train, val = data / 'dota' / 'train', data / 'dota' / 'val'
    old = sorted((train / 'images').iterdir())[0].stem
    for folder, suffix in (('images', '.png'), ('annfiles', '.txt')):
        shutil.copy(train / folder / (old + suffix), val / folder / f'{old}__1024__0___0{suffix}')
    main = data / 'dior' / 'ImageSets' / 'Main'
    name = (main / 'train.txt').read_text().split()[0]
    rewrite(main / 'val.txt', lambda text: text + name + '\n')
    for fmt, same in (('dota', old.split('__')[0]), ('dior', name)):
        ((pair, flaw),) = check(fmt, data / fmt).flaws
        assert pair == 'train and val'
        assert (flaw.kind, flaw.where) == ('picture in two splits', same)


def test_unlabelled_test_split(data):
    shutil.rmtree(data / 'dota' / 'test' / 'annfiles')
    report = check('dota', data / 'dota')
    assert not report.flaws and report.splits[2].images == COUNTS[2]
    assert not sum(report.splits[2].classes.values())
    shutil.rmtree(data / 'dota' / 'test')
    assert [s.name for s in check('dota', data / 'dota').splits] == ['train', 'val']


def test_a_config_that_trains_on_its_validation_data(drawn):
    cfg = load_config(str(ROOT / 'configs/baselines/oriented-rcnn-le90_r50_fpn_1x_dota.py'))
    for part in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        part.dataset.update(data_root=f'{drawn / "dota"}/', ann_file='train/annfiles/')
        part.dataset.data_prefix = dict(img_path='train/images/')
    found = check_splits(splits_of_config(cfg))
    assert kinds(found) == {'picture in two splits': 2 * COUNTS[0]}
    assert {pair for pair, _ in found.flaws} == {'train and val', 'train and test'}


def test_other_datasets_are_refused():
    cfg = load_config(str(ROOT / 'configs/domain_shift/faster-rcnn_r50_fpn_80k_voc-shift.py'))
    with pytest.raises(ValueError, match="train_dataloader.*'VOCDataset'.*DIORDataset"):
        splits_of_config(cfg)


def test_real_samples(shared_data, tmp_path):
    """A real picture and label file of each data set."""
    dota = tmp_path / 'dota'
    for split in ('train', 'val'):
        for kind in ('images', 'annfiles'):
            shutil.copytree(shared_data / 'dota' / kind, dota / split / kind)
    report = check('dota', dota)
    # The sample is a thumbnail of 170 pixels with the labels of the patch of 1024.
    boxes = sum(report.splits[0].classes.values())
    assert kinds(report) == {'picture in two splits': 1, 'box outside of its picture': 2 * boxes}
    assert sum(report.splits[0].classes.values()) > 0
    dior = tmp_path / 'dior'
    shutil.copytree(shared_data / 'dior' / 'Annotations', dior / 'Annotations')
    shutil.copytree(shared_data / 'dior' / 'JPEGImages', dior / 'JPEGImages-trainval')
    (dior / 'JPEGImages-test').mkdir()
    (dior / 'ImageSets' / 'Main').mkdir(parents=True)
    for split in ('train', 'val', 'test'):
        text = (shared_data / 'dior/ImageSets/Main/sample.txt').read_text()
        (dior / f'ImageSets/Main/{split}.txt').write_text(text if split == 'train' else '')
    report = check('dior', dior)
    assert kinds(report) == {'split is empty': 2}
    assert report.splits[0].images == 1 and sum(report.splits[0].classes.values()) > 0


# -- the tool ------------------------------------------------------------------------------------


def tool(*arguments):
    return rig.call_tool('check_data', *arguments)


def test_the_tool(data, capsys):
    out = data / 'report' / 'check.json'
    assert tool('--format', 'dota', data / 'dota', '--out', out, '--jobs', 2) == 0
    assert 'nothing is wrong' in capsys.readouterr().out
    assert json.loads(out.read_text())['flaws'] == []
    for file in (data / 'dota' / 'val' / 'images').iterdir():
        cut_in_half(file)
    assert tool('--format', 'dota', data / 'dota', '--out', out, '--show', 1) == 1
    printed = capsys.readouterr().out
    assert 'picture cannot be read: 3, training stops' in printed and 'and 2 more' in printed
    assert printed.splitlines()[-1] == 'flaws: 3; those that stop training: 3'
    assert len(json.loads(out.read_text())['flaws']) == 3


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--format', 'dota', 'nowhere'], "folder 'nowhere' does not exist"),
        (['nowhere.py'], "config 'nowhere.py' does not exist"),
        ([str(ROOT / 'configs')], 'name its layout with --format'),
        (['--format', 'dota', str(ROOT), '--out', str(ROOT)], '--out must be a file'),
        (['--format', 'dota', str(ROOT), '--out', f'{__file__}/x.json'], 'File exists'),
    ],
)
def test_unusable_arguments(arguments, message, capsys):
    assert tool(*arguments) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    'error, message',
    [(BrokenProcessPool(), 'fewer --jobs'), (OSError(28, 'No space left'), 'No space left')],
)
def test_what_ends_the_check_is_one_line(error, message, drawn, monkeypatch, capsys):
    def end(*_):
        raise error

    monkeypatch.setattr('mmbackbone_plugins.lab.datasets.check_splits', end)
    assert tool('--format', 'dota', drawn / 'dota', '--jobs', 2) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_that_may_not_be_read(drawn, monkeypatch):
    def refuse(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr('os.scandir', refuse)
    report = check('dota', drawn / 'dota')
    assert kinds(report) == {'folder cannot be read': 3}
    assert report.flaws[0][1].where == str(drawn / 'dota' / 'train' / 'images')
