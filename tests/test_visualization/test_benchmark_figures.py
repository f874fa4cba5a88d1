"""Figures that compare methods."""

import itertools

import numpy as np
import pytest

from mmbackbone_plugins.visualization import (
    Boxes,
    Point,
    RunLog,
    class_colors,
    draw_class_legend,
    draw_on_image,
    label_points,
    method_styles,
    plot_domains,
    plot_gain,
    plot_pareto,
    plot_seeds,
)

plt = pytest.importorskip('matplotlib.pyplot')
NAMES = [f'm{i}' for i in range(24)]


@pytest.fixture
def figures(monkeypatch):
    """The figures, left open for a look."""
    kept = []
    close = plt.close
    monkeypatch.setattr(plt, 'close', kept.append)
    yield kept
    for figure in kept:
        close(figure)


def test_every_method_has_a_look_of_its_own():
    styles = method_styles(NAMES, 'm3')
    assert list(styles) != [] and set(styles) == set(NAMES)
    assert len({(s.color, s.marker) for s in styles.values()}) == 24
    assert styles['m3'].color == '#000000'
    assert [s.color for s in styles.values()].count('#000000') == 1
    # Who joins later does not change the others.
    assert method_styles([*NAMES, 'new'], 'm3')['m7'] == styles['m7']
    assert 'full' not in method_styles(['a'], 'full')


def boxes_of(notes, figure):
    figure.canvas.draw()
    return [note.get_window_extent(figure.canvas.get_renderer()) for note in notes]


def test_labels_cover_neither_each_other_nor_points():
    rng = np.random.default_rng(0)
    points = [tuple(xy) for xy in rng.normal(size=(14, 2)) * 0.6]
    points += [(points[0][0] + 0.02, points[0][1])]  # a twin
    figure, axis = plt.subplots(figsize=(4.6, 4), layout='constrained')
    axis.plot(*zip(*points), 'o')
    axis.margins(0.2)
    names = [f'method-{i}' for i in range(len(points))]
    bars = [((x, y - 0.1), (x, y + 0.1)) for x, y in points]
    notes = label_points(axis, points, names, ['black'] * len(points), bars)
    assert [note.get_text() for note in notes] == names
    boxes = boxes_of(notes, figure)
    for one, two in itertools.combinations(boxes, 2):
        assert not one.overlaps(two)
    for point, box in itertools.product(points, boxes):
        assert not box.contains(*axis.transData.transform(point))
    plt.close(figure)


def test_pareto_front_is_drawn_through_its_methods(tmp_path, figures):
    points = [Point('a', 1, 10, 9, 11), Point('b', 2, 30), Point('c', 3, 20, 18, 22)]
    plot_pareto(tmp_path / 'p.svg', points, ['a', 'b'], method_styles('abc', 'c'), 'FLOPs', 'mAP')
    (axis,) = figures[0].axes
    texts = {text.get_text() for text in axis.texts}
    assert texts == {'a', 'b', 'c'} and 'dashed: Pareto front' in axis.get_title()
    front = next(line for line in axis.lines if line.get_drawstyle() == 'steps-post')
    assert list(zip(*front.get_data()))[:2] == [(1, 10), (2, 30)]
    assert front.get_ydata()[-1] == 30 and front.get_xdata()[-1] > 3
    bars = [list(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert [9, 11] in bars and [18, 22] in bars
    assert axis.get_xscale() == 'linear'
    assert 'dc:date' not in (tmp_path / 'p.svg').read_text()
    with pytest.raises(ValueError, match='at least one method'):
        plot_pareto(tmp_path / 'none.svg', [], [], {})


def test_gain_over_decades_has_a_logarithmic_axis(tmp_path, figures):
    points = [Point('full', 0.5, 0), Point('$a$', 0.01, 2, 1, 3, 0.008, 0.012)]
    plot_gain(tmp_path / 'g.svg', points, method_styles(['full', '$a$'], 'full'), title='r $1$')
    (axis,) = figures[0].axes
    assert axis.get_xscale() == 'log' and (tmp_path / 'g.svg').stat().st_size > 5000
    assert [0.008, 0.012] in [list(line.get_xdata()) for line in axis.lines]


def test_seeds_share_axes_and_frozen_epochs(tmp_path, figures):
    train = [
        {'epoch': e, 'iter': 2 * e, 'loss': 1 / e, 'freezing/trainable_stages': 5 * (e % 2)}
        for e in range(1, 5)
    ]
    val = [{'step': e, 'toy/mAP': e / 10} for e in range(1, 5)]
    runs = {'seed 0': RunLog('a', train, val), 'seed 1': RunLog('b', train, [])}
    plot_seeds(tmp_path / 's.svg', runs, 'dbf', '#0072B2', 3.0, 0.5)
    upper, lower = figures[0].axes
    assert [patch.get_x() for patch in upper.patches] == [1, 3]
    assert list(upper.lines[0].get_xdata()) == [1, 2, 3, 4] and len(upper.lines) == 2
    assert list(lower.lines[0].get_ydata()) == [0.1, 0.2, 0.3, 0.4] and len(lower.lines) == 1
    assert upper.get_ylim() == (0, 3) and lower.get_ylim() == (0, 0.5)
    with pytest.raises(ValueError, match='logged no scalars'):
        plot_seeds(tmp_path / 'none.svg', {'seed 0': RunLog('a')})


def test_map_of_domains(tmp_path, figures):
    scores = np.array([[60.04, 30.0], [50.0, np.nan]])
    shades = scores - scores[0]
    names = (['full', 'b'], ['clear', 'haze'])
    plot_domains(tmp_path / 'd.svg', scores, *names, shades, 'difference', 1)
    axis = figures[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ['60.0', '30.0', '50.0', 'none']
    # No difference is the middle of the scale.
    assert axis.images[0].get_clim() == pytest.approx((-10.04, 10.04))
    assert [line.get_xdata()[0] for line in axis.lines] == [0.5]
    plot_domains(tmp_path / 'e.svg', scores, *names)
    assert figures[1].axes[0].images[0].get_clim() == (30.0, 60.04)
    with pytest.raises(ValueError, match=r'\(methods, domains\) = \(2, 3\)'):
        plot_domains(tmp_path / 'none.svg', scores, ['a', 'b'], ['x', 'y', 'z'])


def test_boxes_on_a_picture_alone(tmp_path, figures):
    quad = np.array([[[5, 5], [20, 8], [18, 20], [3, 17]]], float)
    image = np.full((40, 60, 3), 200, np.uint8)
    boxes = Boxes(quad, np.array([1]), np.array([0.75]))
    colors = class_colors([boxes], 3)
    assert colors[0] == colors[2] == '#ffffff' != colors[1]
    draw_on_image(tmp_path / 'i.jpg', image, boxes, colors)
    (axis,) = figures[0].axes
    assert np.array_equal(axis.patches[0].get_xy()[:4], quad[0])
    assert [text.get_text() for text in axis.texts] == ['0.75']
    written = plt.imread(tmp_path / 'i.jpg')
    assert written.shape[1] / written.shape[0] == pytest.approx(1.5, abs=0.01)
    assert written[-3:, -3:].min() > 180  # nothing around the picture
    draw_class_legend(tmp_path / 'l.svg', ['ship', 'a$b$'], colors[:2])
    assert (tmp_path / 'l.svg').stat().st_size > 2000
