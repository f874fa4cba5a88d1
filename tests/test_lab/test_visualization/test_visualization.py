import json
import sys

import numpy as np
import pytest

from mmbackbone_plugins.lab.visualization import (
    Boxes,
    Sample,
    compare_boxes,
    frozen_spans,
    plot_training,
    plot_widths,
    read_scalars,
    trainable_by_epoch,
)


def rows(stages, length=4):
    """Logged training rows, two an epoch, and a validation row after every second epoch."""
    train = [
        {
            'epoch': epoch,
            'iter': (epoch - 1) * length + half * length // 2,
            'loss': 2 / epoch,
            'loss_cls': 1 / epoch,
            'freezing/trainable_stages': count,
        }
        for epoch, count in enumerate(stages, 1)
        for half in (1, 2)
    ]
    val = [{'step': e, 'dota/mAP': e / 10} for e in range(2, len(stages) + 1, 2)]
    return train, val


def test_scalars_are_told_apart(tmp_path):
    train, val = rows([5, 0, 5, 0])
    path = tmp_path / 'scalars.json'
    path.write_text(''.join(json.dumps(row) + '\n' for row in train + val))
    assert read_scalars(path) == (train, val)
    assert trainable_by_epoch(train) == {1: 5, 2: 0, 3: 5, 4: 0}
    assert trainable_by_epoch([{'epoch': 1, 'loss': 1.0}]) == {}


@pytest.mark.parametrize(
    'stages, spans',
    [
        ([5, 0, 5, 0], [(2, 2), (4, 4)]),
        ([0, 0, 0, 5, 0, 0], [(1, 3), (5, 6)]),
        ([5, 3, 1], []),
        ([0], [(1, 1)]),
        ([], []),
    ],
)
def test_frozen_spans(stages, spans):
    assert frozen_spans(dict(enumerate(stages, 1))) == spans


def test_curves_shade_frozen_epochs(tmp_path, figures):
    plot_training(tmp_path / 'curves.png', *rows([5, 0, 0, 5]), title='run')
    assert (tmp_path / 'curves.png').stat().st_size > 5000
    upper, lower = figures[0].axes
    assert [patch.get_x() for patch in upper.patches] == [1]
    assert upper.patches[0].get_width() == 2
    loss = upper.lines[0]
    assert loss.get_label() == 'loss' and list(loss.get_xdata())[:2] == [0.5, 1.0]
    assert list(lower.lines[0].get_xdata()) == [2, 4]
    assert list(lower.lines[0].get_ydata()) == [0.2, 0.4]
    assert lower.get_xlabel() == 'epochs trained' and lower.get_ylabel().startswith('mAP')


def test_curves_do_without_validation_and_hook(tmp_path):
    pytest.importorskip('matplotlib')
    train, _ = rows([5, 5])
    train = [{k: v for k, v in row.items() if 'freezing' not in k} for row in train]
    plot_training(tmp_path / 'curves.png', train, [])
    assert (tmp_path / 'curves.png').exists()
    with pytest.raises(ValueError, match='train_rows must hold at least one row'):
        plot_training(tmp_path / 'none.png', [], [])


def test_boxes_are_drawn_where_they_are(tmp_path, figures):
    quad = np.array([[[5, 5], [20, 8], [18, 20], [3, 17]]], float)
    truth = Boxes(quad, np.array([2]))
    found = Boxes(quad + 1, np.array([0]), np.array([0.75]))
    empty = Boxes(np.zeros((0, 4, 2)), np.zeros(0, int), np.zeros(0))
    image = np.zeros((32, 40, 3), np.uint8)
    samples = [Sample(image, truth, found), Sample(image, truth, empty)]
    compare_boxes(tmp_path / 'boxes.png', samples, ['plane', 'ship', 'tank'], 'scenes')
    assert (tmp_path / 'boxes.png').stat().st_size > 3000
    figure = figures[0]
    above, beside, below, none = figure.axes
    assert np.array_equal(above.patches[0].get_xy()[:4], quad[0])
    assert np.array_equal(below.patches[0].get_xy()[:4], quad[0] + 1)
    assert len(beside.patches) == 1 and not none.patches
    assert [text.get_text() for text in below.texts] == ['0.75']
    # Only what occurs is explained, and different classes have different colours.
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ['plane', 'tank']
    assert above.patches[0].get_edgecolor() != below.patches[0].get_edgecolor()
    with pytest.raises(ValueError, match='at least one picture'):
        compare_boxes(tmp_path / 'none.png', [], [])


def test_widths_before_and_after_are_bars(tmp_path, figures):
    before, after = dict(stage1=64, stage2=128), dict(stage1=80, stage2=40)
    plot_widths(tmp_path / 'widths.png', before, after, dict(stage1=60, stage2=0), 'small')
    assert (tmp_path / 'widths.png').stat().st_size > 3000
    (axis,) = figures[0].axes
    assert [bar.get_height() for bar in axis.patches] == [64, 128, 80, 40]
    assert [text.get_text() for text in axis.get_xticklabels()] == ['stage1', 'stage2']
    spanned = axis.lines[0].get_ydata()
    assert spanned[0] == 60 and np.isnan(spanned[1])  # a logarithm has no zero
    with pytest.raises(ValueError, match='at least one layer, got none'):
        plot_widths(tmp_path / 'none.png', {}, {}, {})


def test_missing_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(ImportError, match=r'pip install "mmbackbone_plugins\[lab\]"'):
        plot_training(tmp_path / 'curves.png', *rows([5]))
