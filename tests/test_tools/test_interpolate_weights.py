"""The tool between two checkpoints, with a detector whose every score follows from one weight."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmbackbone_plugins.lab.sweeps import interpolation
from mmbackbone_plugins.lab.toy import make_toy_dataset
from mmbackbone_plugins.lab.visualization import plot_interpolation

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tool(*arguments):
    return load(ROOT / 'tools/interpolate_weights.py').main([str(a) for a in arguments])


CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins', 'oracle'], allow_failed_imports=False)
default_scope = 'mmrotate'
work_dir = {work_dir!r}
model = dict(
    type='Oracle',
    backbone=dict(type='Nothing'),
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor', boxtype2tensor=True),
)
pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path')),
]
loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
dataset = dict(type='DOTADataset', data_root={root!r}, test_mode=True, pipeline=pipeline)
val_dataloader = dict(
    dataset=dict(ann_file='val/annfiles/', data_prefix=dict(img_path='val/images/'), **dataset),
    **loader,
)
test_dataloader = dict(
    dataset=dict(ann_file='test/annfiles/', data_prefix=dict(img_path='test/images/'), **dataset),
    **loader,
)
val_evaluator = dict(type='DOTAMetric', metric='mAP', eval_mode='area')
test_evaluator = val_evaluator
"""


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    for name, style in (('clear', 'clear'), ('haze', 'haze')):
        options = dict(counts=(0, 3, 3), size=128, density=20.0, styles=[style])
        make_toy_dataset(folder / name, 'dota', **options)
    return folder


@pytest.fixture
def files(drawn, tmp_path):
    """The detector is best where its reach is zero: at weight 0.75."""
    settings = dict(root=f'{drawn / "clear"}/', work_dir=str(tmp_path / 'work'))
    (tmp_path / 'oracle.py').write_text(CONFIG.format(**settings))
    for name, reach in (('start', 24.0), ('end', -8.0)):
        state = dict(reach=torch.tensor(reach))
        torch.save(dict(meta=dict(name=name), state_dict=state), tmp_path / f'{name}.pth')
    return tmp_path


def sweep(files, drawn, *arguments, out='out'):
    ends = files / 'start.pth', files / 'end.pth'
    on = ('--on', f'haze={drawn / "haze"}')
    where = ('--weights', '0:1:0.25', '--out', files / out, '--jobs', 1)
    return tool(*ends, files / 'oracle.py', *on, *where, *arguments)


def test_one_checkpoint(files, capsys):
    ends = files / 'start.pth', files / 'end.pth'
    assert tool(*ends, '--weight', 0.5, '-o', files / 'deep/half.pth') == 0
    half = torch.load(files / 'deep/half.pth', weights_only=False)
    assert half['state_dict'] == dict(reach=8) and half['meta']['name'] == 'end'
    assert half['meta']['interpolation']['weight'] == 0.5
    assert tool(*ends, '--weight', 1.5, '-o', files / 'x.pth') == 2
    assert 'weight must be a number from 0 (start) to 1 (end), got 1.5' in capsys.readouterr().err
    assert tool(*ends, '--weight', 1.5, '-o', files / 'x.pth', '--extrapolate') == 0
    torch.save(dict(other=torch.ones(1)), files / 'other.pth')
    assert tool(files / 'other.pth', ends[1], '--weight', 0.5, '-o', files / 'y.pth') == 2
    assert 'not of one architecture: reach (not in the start)' in capsys.readouterr().err


def test_a_sweep_chooses_on_the_validation_set_and_goes_on_where_it_was(files, drawn, capsys):
    assert sweep(files, drawn, '--choose', 'val', '-o', files / 'best.pth') == 0
    shown = capsys.readouterr().out
    assert 'chosen on the validation set: 0.75' in shown and '0.75 *' in shown
    assert torch.load(files / 'best.pth', weights_only=False)['state_dict'] == dict(reach=0)
    results = json.loads((files / 'out/results.json').read_text())
    assert results['chosen'] == 0.75 and (files / 'out/interpolation.png').stat().st_size > 1000
    scores = results['scores']
    own = [scores[w]['own_test']['oriented/mAP'] for w in ('0', '0.25', '0.5', '0.75', '1')]
    assert own == sorted(own[:4]) + own[4:] and own[4] < own[3]
    # The same detector by the ordinary tool.
    robustness = load(ROOT / 'tools/analysis_tools/test_robustness.py')
    asked = [files / 'oracle.py', files / 'start.pth', '--corruptions', '--jobs', 1]
    asked += ['--test-sets', f'haze={drawn / "haze"}', '--out', files / 'alone']
    assert robustness.main([str(a) for a in asked]) == 0
    for cell, name in (('clean', 'own_test'), ('set_haze', 'set_haze')):
        alone = json.loads((files / f'alone/cells/{cell}.json').read_text())['scores']
        assert scores['0'][name] == alone
    assert not list((files / 'out').rglob('weights.pth'))

    # Killed: some cells are there, one is not.
    gone = files / 'out/w0.5/cells/set_haze.json'
    gone.unlink()
    before = {p: p.stat().st_mtime_ns for p in (files / 'out').rglob('cells/*.json')}
    capsys.readouterr()
    assert sweep(files, drawn, '--choose', 'val') == 0
    assert capsys.readouterr().out.count('test sets to go') == 1 and gone.exists()
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert json.loads((files / 'out/results.json').read_text()) == results
    assert (files / 'out/chosen.pth').exists()
    torch.save(dict(state_dict=dict(reach=torch.tensor(1.0))), files / 'end.pth')
    assert sweep(files, drawn) == 2
    assert 'was made with another checkpoint' in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_sweep_that_is_started_again_equals_one_left_alone(files, drawn):
    words = [ROOT / 'tools/interpolate_weights.py', files / 'start.pth', files / 'end.pth']
    words += [files / 'oracle.py', '--on', f'haze={drawn / "haze"}', '--weights', '0:1:0.25']
    words += ['--out', files / 'killed', '--jobs', 1]
    env = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}')
    process = subprocess.Popen([sys.executable, *map(str, words)], env=env, start_new_session=True)
    end = time.monotonic() + 300
    while len(list(files.glob('killed/*/cells/*.json'))) < 3 and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cells = {p: p.read_bytes() for p in files.glob('killed/*/cells/*.json')}
    assert 3 <= len(cells) < 10 and not (files / 'killed/results.json').exists()
    for out in ('killed', 'whole'):
        assert sweep(files, drawn, '--choose', 'val', out=out) == 0
    assert all(p.read_bytes() == content for p, content in cells.items())
    found = [json.loads((files / o / 'results.json').read_text()) for o in ('killed', 'whole')]
    assert all(found[0][key] == found[1][key] for key in ('scores', 'chosen'))
    assert not list(files.rglob('weights.pth'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--choose', 'test'), "invalid choice: 'test'"),
        (('--weights', '0:1'), 'FIRST:LAST:STEP'),
        (('--weight', '0.5'), '--weight is for one checkpoint'),
        (('-o', 'x.pth'), 'with --choose val only'),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        tool('a.pth', 'b.pth', 'config.py', *arguments)
    assert message in capsys.readouterr().err


def test_of_equal_places_the_one_nearest_the_start_is_chosen():
    scores = {w: dict(val=dict(mAP=v)) for w, v in ((0.0, 0.1), (0.5, 0.4), (1.0, 0.4))}
    assert interpolation.choose(scores, 'val', 'mAP') == 0.5
    (line,) = interpolation.given_up(dict(fog={0.0: 0.3, 0.5: 0.2, 1.0: 0.1}), 0.5)
    assert line == 'fog: 20.0 at 0.5, gives up 10.0 of 30.0 at 0; +10.0 against the end'


def test_a_picture_needs_two_places(tmp_path):
    with pytest.raises(ValueError, match='two weights or more'):
        plot_interpolation(tmp_path / 'x.png', {0.0: 0.1}, dict(fog={0.0: 0.1}))
