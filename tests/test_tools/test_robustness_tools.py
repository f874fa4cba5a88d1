"""The tools for corruptions and transfer, with a detector whose every score is known."""

import json
import math
import re
import shutil

import cv2
import numpy as np
import pytest
import rig
import torch
from oracle import offset

from mmbackbone_plugins.lab.datasets import CLASSES
from mmbackbone_plugins.lab.toy import make_toy_dataset
from mmbackbone_plugins.metrics import Detections, Truth, image_seed, oriented_ap

library = pytest.importorskip('imagecorruptions')
THRESHOLDS = [percent / 100 for percent in range(50, 100, 5)]
ASKED = dict(fog=[1, 4], glass_blur=[1, 4])


def tool(name, *arguments):
    return rig.call_tool(f'analysis_tools/{name}', *arguments)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    options = dict(counts=(0, 0, 4), size=128, density=20.0)
    make_toy_dataset(folder / 'dota', 'dota', **options)
    make_toy_dataset(folder / 'haze', 'dota', styles=['haze'], **options)
    options.update(counts=(0, 0, 12))
    make_toy_dataset(folder / 'dior', 'dior', classes='all', **options)
    return folder


CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins', 'oracle'], allow_failed_imports=False)
default_scope = 'mmrotate'
work_dir = {work_dir!r}
model = dict(
    type='Oracle',
    backbone=dict(type='Nothing'),
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor', boxtype2tensor=True),
)
test_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DOTADataset',
        data_root={root!r},
        ann_file='test/annfiles/',
        data_prefix=dict(img_path='test/images/'),
        test_mode=True,
        pipeline=[
            dict(type='mmdet.LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
            dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
            dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path')),
        ],
    ),
)
test_evaluator = dict(type='DOTAMetric', metric='mAP', eval_mode='area')
"""


@pytest.fixture
def files(drawn, tmp_path):
    """A config and three checkpoints."""
    config = tmp_path / 'oracle.py'
    settings = dict(root=f'{drawn / "dota"}/', work_dir=str(tmp_path / 'work'))
    config.write_text(CONFIG.format(**settings))
    for name, reach in (('good', 4.0), ('bad', 40.0), ('exact', 0.0)):
        torch.save(dict(state_dict=dict(reach=torch.tensor(reach))), tmp_path / f'{name}.pth')
    return tmp_path


def sweep(files, *arguments, checkpoint='good', out='out', jobs=1):
    corruptions = ['--corruptions', *ASKED, '--severities', 0, 1, 4]
    return tool(
        'test_robustness', files / 'oracle.py', files / f'{checkpoint}.pth', *corruptions,
        *('--out', files / out, '--jobs', jobs, '--seed', 3), *arguments,
    )  # fmt: skip


def scores(files, name, out='out'):
    return json.loads((files / out / 'cells' / f'{name}.json').read_text())['scores']


def expected(root, change, reach=4.0):
    """AP by class and threshold, from the files alone."""
    truths, found = [], []
    for file in sorted((root / 'test' / 'annfiles').glob('*.txt')):
        image = change(cv2.imread(str(root / 'test' / 'images' / f'{file.stem}.png')), file.stem)
        fields = [line.split() for line in file.read_text().splitlines()]
        quads = np.array([f[:8] for f in fields], np.float32).reshape(-1, 4, 2)
        rects = [cv2.minAreaRect(quad) for quad in quads]
        boxes = [[*center, *sides, math.radians(turn)] for center, sides, turn in rects]
        boxes = np.array(boxes, np.float32).reshape(-1, 5)
        labels = np.array([CLASSES['dota'].index(f[8]) for f in fields], int)
        moved = boxes + np.array([reach * offset(image), 0, 0, 0, 0], np.float32)
        truths.append(Truth(boxes, labels, boxes[:0], labels[:0]))
        found.append(Detections(moved, labels, np.linspace(0.9, 0.1, len(labels))))
    return oriented_ap(truths, found, 15, THRESHOLDS, 'area').ap


def directly(name, severity):
    """A corruption as the library gives it for RGB, with the picture's seed."""

    def change(bgr, stem):
        seed = image_seed(f'{stem}.png', name, severity, 3)
        np.random.seed(seed)
        own = dict(seed=seed) if name == 'glass_blur' else {}
        rgb = library.corrupt(bgr[..., ::-1].copy(), severity, name, **own)
        return rgb[..., ::-1]

    return change


def test_scores_against_a_direct_computation(files, drawn, capsys):
    assert sweep(files, '--test-sets', f'haze={drawn / "haze"}') == 0
    wanted = {f'{c}_{s}': expected(drawn / 'dota', directly(c, s)) for c in ASKED for s in ASKED[c]}
    wanted['clean'] = expected(drawn / 'dota', lambda image, stem: image)
    wanted['set_haze'] = expected(drawn / 'haze', lambda image, stem: image)
    assert {p.stem for p in (files / 'out' / 'cells').iterdir()} == wanted.keys()
    for name, ap in wanted.items():
        got = scores(files, name)
        assert got['oriented/mAP'] == pytest.approx(np.nanmean(ap), abs=1e-4)
        for label, one in enumerate(CLASSES['dota']):
            value = got[f'oriented/{one}/AP75']
            assert (value is None) == bool(np.isnan(ap[label, 5]))
            assert value is None or value == pytest.approx(ap[label, 5], abs=1e-4)
    means = {name: np.nanmean(ap) for name, ap in wanted.items()}
    assert len({round(v, 3) for v in means.values()}) > 3, 'too alike to tell apart'

    results = json.loads((files / 'out' / 'results.json').read_text())
    mpc = np.mean([[means[f'{c}_{s}'] for s in ASKED[c]] for c in ASKED])
    assert results['mpc'] == pytest.approx(mpc, abs=1e-4)
    assert results['rpc'] == pytest.approx(mpc / means['clean'], abs=1e-4)
    assert results['benchmark'] is False and results['failed'] == {}
    assert results['cells']['clean'] == scores(files, 'clean')
    kinds = {name.split('/')[-1] for name in results['summary']}
    assert {'mAP', 'AP50', 'AP75'} <= kinds and 'boxes' not in kinds
    assert results['summary']['oriented/AP75']['clean'] == scores(files, 'clean')['oriented/AP75']
    assert (files / 'out' / 'robustness.png').stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert f'mPC {100 * mpc:.1f}' in printed and 'not the benchmark' in printed
    assert '[6/6]' in printed and ' left' in printed and 'set_haze' in printed


def test_finished_cells_are_kept(files, capsys):
    assert sweep(files) == 0
    cells = files / 'out' / 'cells'
    before = {p.name: (p.stat().st_mtime_ns, p.read_text()) for p in cells.iterdir()}
    assert len(before) == 5
    (cells / 'fog_4.json').unlink()  # as if it had been stopped
    capsys.readouterr()
    assert sweep(files) == 0
    assert '4 of 5 are there already' in capsys.readouterr().out
    after = {p.name: (p.stat().st_mtime_ns, p.read_text()) for p in cells.iterdir()}
    assert [n for n in before if before[n][0] != after[n][0]] == ['fog_4.json']
    assert all(before[n][1] == after[n][1] for n in before)


@pytest.mark.parametrize(
    'change, word',
    [
        (dict(checkpoint='bad'), 'checkpoint'),
        (dict(extra=['--seed', 4]), 'data'),
        (dict(extra=['--cfg-options', 'test_evaluator.eval_mode=11points']), 'metric'),
        (dict(extra=['--cfg-options', 'model.answers=[1,2]']), 'model'),
    ],
)
def test_results_of_something_else_are_not_touched(change, word, files, capsys):
    assert sweep(files) == 0
    before = {p: p.read_text() for p in (files / 'out').rglob('*.json')}
    capsys.readouterr()
    assert sweep(files, *change.get('extra', []), checkpoint=change.get('checkpoint', 'good')) == 2
    message = capsys.readouterr().err
    assert f'another {word}' in message and '--out' in message and '.json' in message
    assert before == {p: p.read_text() for p in (files / 'out').rglob('*.json')}


def test_a_cell_that_fails_does_not_stop_the_rest(files, monkeypatch, capsys):
    import mmbackbone_plugins.lab.sweeps.sweep as home

    def broken(model, scope, loader, evaluator):
        if "'fog', 'severity': 4" in str(loader):
            raise RuntimeError('out of memory')
        return whole(model, scope, loader, evaluator)

    whole = home.evaluate
    monkeypatch.setattr(home, 'evaluate', broken)
    assert sweep(files) == 1
    printed = capsys.readouterr()
    assert 'FAILED fog_4: RuntimeError: out of memory' in printed.err
    assert 'no mPC and rPC' in printed.out
    assert json.loads((files / 'out' / 'results.json').read_text())['mpc'] is None
    monkeypatch.undo()
    assert sweep(files) == 0
    assert json.loads((files / 'out' / 'results.json').read_text())['mpc'] > 0


@pytest.mark.slow
def test_any_number_of_processes(files):
    assert sweep(files) == 0 and sweep(files, out='two', jobs=2) == 0
    names = [p.name for p in (files / 'out' / 'cells').iterdir()]
    assert len(names) == 5
    for name in names:
        assert (files / 'out/cells' / name).read_text() == (files / 'two/cells' / name).read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--corruptions', 'mist'], "'mist'"),
        (['--severities', '7'], 'got 7'),
        (['--test-sets', 'haze'], 'NAME=DATA_ROOT'),
        (['--test-sets', 'haze=nowhere'], "'nowhere' does not exist"),
        (['--split', 'val'], 'val_dataloader'),
        (['--cfg-options', 'test_evaluator.format_only=True'], 'no public labels.*--split val'),
        (['--cfg-options', 'test_dataloader.dataset.data_root=nowhere'], 'data .* is missing'),
    ],
)
def test_bad_arguments(arguments, message, files, capsys):
    assert sweep(files, *arguments) == 2 and re.search(message, capsys.readouterr().err)
    assert not (files / 'out').exists()


# -- transfer ------------------------------------------------------------------------------------


def transfer(files, drawn, *arguments, checkpoint='good'):
    return tool(
        'test_transfer', files / 'oracle.py', files / f'{checkpoint}.pth', '--jobs', 1,
        *('--to', 'dior', '--data-root', drawn / 'dior', '--out', files / 'out'), *arguments,
    )  # fmt: skip


def test_transfer_of_a_detector_that_knows_the_dictionary(files, drawn, capsys):
    """Whatever DIOR-R labels, it answers in DOTA's words; what DOTA lacks, it calls a plane."""
    words = dict(airplane='plane', baseballfield='baseball-diamond', vehicle='large-vehicle')
    words.update(storagetank='storage-tank', tenniscourt='tennis-court')
    words.update(basketballcourt='basketball-court', groundtrackfield='ground-track-field')
    names = [words.get(n, n if n in CLASSES['dota'] else 'plane') for n in CLASSES['dior']]
    answers = [CLASSES['dota'].index(name) for name in names]
    options = f'model.answers={json.dumps(answers)}'.replace(' ', '')
    arguments = ('--no-own', '--cfg-options', options)
    assert transfer(files, drawn, *arguments, checkpoint='exact') == 0
    got = scores(files, 'dior_test')
    labelled = {k.split('/')[1]: v for k, v in got.items() if k.endswith('/boxes') and v}
    labelled = {name: count for name, count in labelled.items() if name != 'boxes'}
    assert len(labelled) >= 5 and 'chimney' not in labelled and 'windmill' not in labelled
    for name in labelled:
        value = got[f'oriented/{name}/AP50']
        assert value < 0.99 if name == 'plane' else value == pytest.approx(1)
    printed = capsys.readouterr().out
    assert 'AP50 dior_test' in printed and 'vehicle' in printed
    content = json.loads((files / 'out' / 'results_dior_test.json').read_text())
    assert content['scores']['dior_test'] == got
    assert content['class_map']['vehicle'] == ['small-vehicle', 'large-vehicle', 'vehicle']


def test_labels_that_the_detector_does_not_have(files, drawn, capsys):
    """It predicts 20 classes, and the config says it was trained with 15."""
    assert transfer(files, drawn, '--no-own') == 1
    assert 'predicted_classes has 15 names' in capsys.readouterr().err


def test_transfer_beside_the_own_data(files, drawn, capsys):
    # Right about DOTA; it has no words for the last five of DIOR-R's twenty classes.
    answers = str([*range(15), 0, 0, 0, 0, 0]).replace(' ', '')
    assert transfer(files, drawn, '--cfg-options', f'model.answers={answers}') == 0
    own = scores(files, 'own_test')
    ap = expected(drawn / 'dota', lambda image, stem: image)
    labels = ('plane', 'ship', 'tennis-court', 'storage-tank')  # of the same name in the map
    there = [i for i, n in enumerate(CLASSES['dota']) if n in labels and ap[i, 0] == ap[i, 0]]
    assert there
    for i in there:
        name = f'oriented/{CLASSES["dota"][i]}/mAP'
        assert own[name] == pytest.approx(ap[i].mean(), abs=1e-4)
    assert {k.split('/')[1] for k in own if k.count('/') == 2} >= {'vehicle', 'plane'}
    assert not any('small-vehicle' in k or 'helicopter' in k for k in own)
    printed = capsys.readouterr().out
    other = scores(files, 'dior_test')
    names = {k.split('/')[1] for k in own if k.count('/') == 2}
    both = [n for n in names if own[f'oriented/{n}/boxes'] and other[f'oriented/{n}/boxes']]
    (line,) = [x for x in printed.splitlines() if x.startswith(f'mean of the {len(both)} ')]
    wanted = [sum(s[f'oriented/{n}/AP50'] for n in both) / len(both) for s in (own, other)]
    assert line.split()[-4:-2] == [f'{100 * value:.1f}' for value in wanted]
    assert 'boxes own_test' in printed and 0 < len(both) < len(names)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--data-root', 'nowhere'], 'is missing'),
        (['--scale', '64', '64'], 'no Resize'),
        (['--cfg-options', "test_dataloader.dataset.metainfo.classes=('car',)"], 'nothing in'),
        (['--cfg-options', 'test_evaluator.type=VOCMetric'], 'VOCMetric'),
    ],
)
def test_bad_transfers(arguments, message, files, drawn, capsys):
    assert transfer(files, drawn, *arguments) == 2
    assert message in capsys.readouterr().err and not (files / 'out').exists()


def test_files_of_a_stopped_write_do_no_harm(files):
    """What is half written has another name."""
    assert sweep(files) == 0
    cells = files / 'out' / 'cells'
    shutil.copy(cells / 'clean.json', files / 'whole.json')
    (cells / 'clean.json').write_text('{"name": "clean", "scor')
    assert sweep(files) == 2
    shutil.copy(files / 'whole.json', cells / 'clean.json')
    assert sweep(files) == 0
