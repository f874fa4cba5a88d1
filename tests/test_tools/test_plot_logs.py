"""Curves of one or several runs from their logs, resumed starts put together."""

import json
import math
from pathlib import Path

import pytest
import rig

from mmbackbone_plugins.lab.visualization import distortion, plot_rgn_over_depth, read_run


@pytest.fixture(scope='module')
def tool():
    return rig.load_tool('analysis_tools/plot_logs')


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def row(iteration, loss, per_epoch=4, **more):
    return dict(iter=iteration, step=iteration, epoch=-(-iteration // per_epoch), loss=loss, **more)


def test_a_real_run(tool, tmp_path, capsys):
    hooks = [
        rig.dbf(2),
        dict(type='RGNHook', interval=1),
        dict(type='DriftHook', num_images=2),
        dict(type='DistortionRegularizerHook', importance='uniform', interval=1),
    ]
    rig.train(tmp_path / 'dbf', hooks=hooks, epochs=2)
    rig.train(tmp_path / 'full', epochs=2)
    out = tmp_path / 'pictures' / 'curves.png'
    folders = [str(tmp_path / name) for name in ('dbf', 'full')]
    assert tool.main([*folders, '-o', str(out)]) == 0
    assert '(rgn, drift, cka, held, loss of 2 runs)' in capsys.readouterr().out
    assert out.stat().st_size > 20_000
    run = read_run(tmp_path / 'dbf')
    curves = distortion._curves(run)
    assert len(curves['rgn']['stage2']) == 8 and len(curves['drift']['network']) == 2
    # The second epoch is frozen: a gap, no zero.
    assert [math.isnan(v) for _, v in curves['rgn']['stage2']] == [False] * 4 + [True] * 4
    assert len(curves['held']['network']) == len(curves['held']['stage2']) == 4
    assert curves['loss']['loss'][-1][0] == 2.0  # epochs


def test_a_resumed_run_is_put_together(tmp_path):
    first, second = tmp_path / '20260101_000000', tmp_path / '20260102_000000'
    write(first / 'vis_data' / 'scalars.json', [row(i, i) for i in range(1, 11)])
    again = [row(i, 100 + i) for i in range(9, 13)] + [{'dota/mAP': 0.5, 'step': 3}]
    write(second / 'vis_data' / 'scalars.json', again)
    write(first / 'rgn.jsonl', [dict(iter=1, epoch=1, mean=1.0, stages={})])
    run = read_run(tmp_path)
    assert [r['loss'] for r in run.train] == [1, 2, 3, 4, 5, 6, 7, 8, 109, 110, 111, 112]
    assert run.metric == 'dota/mAP' and run.per_epoch == 4 and len(run.rgn) == 1


def test_a_fresh_start_in_the_same_folder_replaces_the_old_run(tmp_path):
    first, second = tmp_path / '20260101_000000', tmp_path / '20260102_000000'
    write(first / 'vis_data' / 'scalars.json', [row(i, 1) for i in range(1, 11)])
    write(first / 'rgn.jsonl', [dict(iter=1, epoch=1, mean=1.0, stages={})])
    write(second / 'vis_data' / 'scalars.json', [row(i, 2) for i in range(1, 5)])
    run = read_run(tmp_path)
    assert [r['loss'] for r in run.train] == [2] * 4 and run.rgn == []


def test_an_iteration_loop_is_drawn_over_iterations(tool, tmp_path):
    hooks = [rig.dbf(3, by_epoch=False), dict(type='RGNHook', interval=1)]
    options = dict(iters=8, log_processor=dict(by_epoch=False))
    rig.train(tmp_path / 'run', hooks=hooks, **options)
    run = read_run(tmp_path / 'run')
    assert run.per_epoch == 1 and distortion.spans_of_frozen(run) == [(2, 3), (5, 6), (8, 8)]
    assert distortion._curves(run)['loss']['loss'][-1][0] == 8
    assert tool.main([str(tmp_path / 'run'), '-o', str(tmp_path / 'a.png')]) == 0


def test_bad_input(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'nothing'), '-o', str(tmp_path / 'a.png')]) == 2
    assert 'no log in' in capsys.readouterr().err
    write(tmp_path / 'run' / '20260101_000000' / 'vis_data' / 'scalars.json', [])
    assert tool.main([str(tmp_path / 'run'), '-o', str(tmp_path / 'a.png')]) == 2
    assert 'nothing to draw' in capsys.readouterr().err
    with pytest.raises(ValueError, match='the target is frozen in every run'):
        plot_rgn_over_depth(tmp_path / 'a.png', dict(a={}))


def test_runs_of_one_name_in_two_places_are_told_apart(tool, tmp_path, monkeypatch):
    folders = [str(tmp_path / name / 'run') for name in 'ab']
    for folder in folders:
        write(Path(folder) / '20260101_000000' / 'vis_data' / 'scalars.json', [row(1, 0.5)])
    drawn = []

    def draw(out, runs, title):
        drawn.extend(run.name for run in runs)
        return ['loss']

    monkeypatch.setattr('mmbackbone_plugins.lab.visualization.plot_runs', draw)
    assert tool.main([*folders, '-o', str(tmp_path / 'a.png')]) == 0
    assert drawn == folders
