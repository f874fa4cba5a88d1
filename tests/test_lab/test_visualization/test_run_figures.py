"""Pictures of RGN and of what runs have logged."""

import math
from types import SimpleNamespace

import pytest

from mmbackbone_plugins.lab.visualization import RunLog, plot_rgn_over_depth, plot_runs

plt = pytest.importorskip('matplotlib.pyplot')
STAGES = ('stem', 'stage1')


def network(scale=1.0):
    """A table of a stem and a stage; biases lie decades above the rest, one is zero."""
    tensors = {
        'stem.conv.weight': 0.01,
        'stem.bn.weight': 0.1,
        'stem.bn.bias': 6917.0,
        'stage1.conv.weight': 0.02,
        'stage1.scale': 0.2,
        'stage1.conv.bias': 0.0,
    }
    kinds = dict(zip(tensors, ('weight', 'norm', 'bias', 'weight', 'norm', 'bias')))
    return SimpleNamespace(
        tensors={name: scale * value for name, value in tensors.items()},
        kinds=kinds,
        places={name: name.partition('.')[0] for name in tensors},
        near_zero=('stem.bn.bias',),
    )


def test_rgn_has_a_panel_per_kind_and_stages_on_the_axis(tmp_path, figures):
    plot_rgn_over_depth(tmp_path / 'rgn.png', dict(a=network(), b=network(2)), 'two')
    (figure,) = figures
    weights, norms, biases = figure.axes
    assert 'weights' in weights.get_title('left') and 'biases' in biases.get_title('left')
    for axis, values in ((weights, [0.01, 0.02]), (norms, [0.1, 0.2])):
        one, two = (
            axis.lines[-2:]
            if axis is None
            else [line for line in axis.lines if line.get_label() in ('a', 'b')]
        )
        assert list(one.get_ydata()) == values
        assert list(two.get_ydata()) == [2 * v for v in values]
        assert list(one.get_xdata()) == [0.5, 1.5]  # the middle of each stage
        assert one.get_color() != two.get_color()
    # What is almost zero is a hollow marker of its own, not a tooth of a curve; a zero is a gap.
    joined, alone = (line for line in biases.lines[:4] if line.get_color() == one.get_color())
    assert all(map(math.isnan, joined.get_ydata()))
    assert alone.get_ydata()[0] == 6917 and math.isnan(alone.get_ydata()[1])
    assert alone.get_linestyle() == 'None' and alone.get_markerfacecolor() == 'white'
    ticks = biases.get_xticklabels()
    assert [text.get_text() for text in ticks] == list(STAGES)
    assert [text.get_position()[0] for text in ticks] == [0.5, 1.5]


def test_rgn_by_name_alone(tmp_path, figures):
    plot_rgn_over_depth(tmp_path / 'rgn.png', dict(a={'x.weight': 0.1, 'x.bias': 9.0}))
    assert len(figures[0].axes) == 2


def run(name, period, stages=STAGES, weights=True):
    """Three epochs of two steps, frozen where the period says so."""
    log = RunLog(name)
    for i in range(1, 7):
        epoch = -(-i // 2)
        trains = (epoch - 1) % period == 0
        log.train.append(
            {'iter': i, 'epoch': epoch, 'loss': 1 / i, 'freezing/trainable_stages': 2 * trains}
        )
        found = {s: dict(mean=6917.0) if trains else 'frozen' for s in stages}
        line = dict(iter=i, epoch=epoch, mean=6917.0 if trains else None, stages=found)
        if weights:
            line['weights'] = dict.fromkeys([*stages, 'network'], 0.01) if trains else {}
        log.rgn.append(line)
        if i % 2 == 0:
            drift = {s: 0.1 * epoch for s in stages}
            log.drift.append(dict(iter=i, network=0.1 * epoch, stages=drift, cka={}))
            log.val.append({'step': epoch, 'toy/mAP': 0.1 * epoch})
    return log


def curves(axis):
    return {line.get_label(): line for line in axis.lines}


def test_runs_lie_over_each_other(tmp_path, figures):
    runs = [run('full', 1), run('dbf', 2), run('plain', 1)]
    runs[2].rgn = runs[2].drift = []  # not watched
    assert plot_runs(tmp_path / 'a.png', runs) == ['rgn', 'drift', 'loss', 'metric']
    (figure,) = figures
    panels = [(axis.get_title(), set(curves(axis))) for axis in figure.axes]
    watched = {'full', 'dbf'}
    names = ['network', *STAGES]
    assert panels == [(name, watched) for name in [*names, *names]] + [
        ('', watched | {'plain'}),
        ('', watched | {'plain'}),
    ]
    looks = {
        name: {curves(axis)[name].get_color() for axis in figure.axes if name in curves(axis)}
        for name in ('full', 'dbf', 'plain')
    }
    assert all(len(found) == 1 for found in looks.values())
    assert len(set.union(*looks.values())) == 3
    # Bars in the colour of the run that was frozen, above the panel.
    (bar,) = figure.axes[0].patches
    assert (bar.get_x(), bar.get_width(), bar.get_y() > 1) == (1, 1, True)
    assert bar.get_facecolor() == plt.matplotlib.colors.to_rgba(*looks['dbf'])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ['full', 'dbf', 'plain', 'bars: backbone frozen']


def test_one_run_has_its_stages_in_one_panel(tmp_path, figures):
    plot_runs(tmp_path / 'a.png', [run('dbf', 2)])
    (figure,) = figures
    rgn, drift, loss, metric = figure.axes
    assert set(curves(rgn)) == {*STAGES, 'network'}
    assert curves(rgn)['stem'].get_color() == curves(drift)['stem'].get_color()
    # What rules the mean does not rule the curve.
    assert max(curves(rgn)['network'].get_ydata()[:2]) == 0.01
    assert 'median of weights' in rgn.get_ylabel()
    # The grey of frozen epochs is told from white, in the panel and in the legend.
    for patch in (*rgn.patches, *figure.legends[0].get_patches()):
        assert max(patch.get_facecolor()[:3]) <= 0.85 and patch.get_linewidth() > 0


def test_logs_of_before_have_their_mean(tmp_path, figures):
    plot_runs(tmp_path / 'a.png', [run('new', 1), run('old', 1, weights=False)])
    axis = figures[0].axes[0]
    assert '(mean)' in axis.get_ylabel()
    assert set(curves(axis)['new'].get_ydata()) == {6917.0}
