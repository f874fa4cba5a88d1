"""Data sets of MMSegmentation: drawn ones in the layouts of the zoo, then broken in every way."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rig

pytest.importorskip('mmseg', reason='MMSegmentation is not installed')
CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / 'segmentation'
SUFFIX = dict(loveda='.png', isaid='_instance_color_RGB.png')
CONFIG = dict(loveda='upernet_swin-t_100e_loveda', isaid='deeplabv3plus_r50-d8_80k_isaid')


@pytest.fixture(params=SUFFIX)
def data(request, tmp_path):
    """The name of a data set, its folder, and the label files of training."""
    noise = np.random.default_rng(0)
    for split, i in ((split, i) for split in ('train', 'val') for i in range(3)):
        for kind, suffix in (('img', '.png'), ('ann', SUFFIX[request.param])):
            path = tmp_path / f'{kind}_dir' / split / f'{i}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            labels = np.full((32, 40), i, np.uint8)
            labels[:4], labels[4:8] = 5, 255 if request.param == 'isaid' else 0
            picture = noise.integers(0, 256, (32, 40, 3), np.uint8)
            cv2.imwrite(str(path), labels if kind == 'ann' else picture)
    return request.param, tmp_path, sorted((tmp_path / 'ann_dir/train').iterdir())


def check(data, status):
    """What the tool counts in each split, and the flaws that it finds."""
    name, root, _ = data
    out = root / 'out.json'
    loaders = [f'{s}_dataloader.dataset.data_root={root}' for s in ('train', 'val', 'test')]
    words = [CONFIGS / f'{CONFIG[name]}.py', '--out', out, '--jobs', '1', '--cfg-options', *loaders]
    assert rig.call_tool('check_data', *words) == status
    found = json.loads(out.read_text())
    flaws = [(f['kind'], Path(f['where']).name, f['detail'], f['stops']) for f in found['flaws']]
    return {split.pop('name'): split for split in found['splits']}, flaws


def test_whole(data, capsys):
    splits, flaws = check(data, 0)
    assert set(splits) == {'train', 'val'} and not flaws  # testing reads what validation reads
    assert splits['train'] == splits['val']
    train = splits['train']
    assert train['images'] == 3 and train['empty'] == 0
    # The numbers in the files are 5, and 0, 1 or 2. In LoveDA 0 is no label, and 1 the first class.
    present = [number for number in train['classes'].values() if number]
    if data[0] == 'loveda':
        wanted = dict(background=1, building=1, barren=3)
    else:
        wanted = dict(background=1, ship=1, store_tank=1, basketball_court=3)
    assert {k: v for k, v in train['classes'].items() if v} == wanted
    assert train['labels'] == sum(present)
    said = capsys.readouterr().out
    assert 'nothing is wrong' in said and 'labels' in said and 'boxes' not in said


def test_broken(data):
    name, root, (colours, another, missing) = data
    cv2.imwrite(str(colours), np.zeros((32, 40, 3), np.uint8))
    labels = np.zeros((20, 40), np.uint8)
    labels[:5], labels[5:9] = 17, 254 if name == 'isaid' else 255
    cv2.imwrite(str(another), labels)
    missing.unlink()
    (torn,) = (root / 'ann_dir/val').glob('0*')
    torn.write_bytes(b'no picture')
    (root / 'img_dir/val/1.png').write_bytes(b'no picture')
    splits, flaws = check(data, 1)
    values = '16, of 7' if name == 'loveda' else '17, 254, of 16'  # there 255 is no label either
    assert splits['train']['images'] == 3 and splits['val']['images'] == 2
    assert flaws[:4] == [
        (
            *('labels are colours', colours.name),
            *('3 channels: convert them to numbers of classes', True),
        ),
        ('labels of another size', another.name, '40 x 20, the picture has 40 x 32', False),
        ('label of no class', another.name, f'{values} classes', True),
        ('label file is missing', missing.name, '', True),
    ]
    kinds = ['label file cannot be read', 'picture cannot be read']
    assert [(f[0], f[3]) for f in flaws[4:]] == [(kind, True) for kind in kinds]


def test_no_pictures(data):
    _, root, _ = data
    (root / 'img_dir/train').rename(root / 'away')
    for path in (root / 'img_dir/val').iterdir():
        path.unlink()
    _, flaws = check(data, 1)
    found = [(kind, name, stops) for kind, name, _, stops in flaws]
    assert found == [('pictures cannot be listed', 'train', True), ('split is empty', 'val', True)]
