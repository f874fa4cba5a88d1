"""Figures that compare methods."""

import colorsys

import numpy as np
import pytest

from mmbackbone_plugins.lab.visualization import (
    Boxes,
    Difference,
    Point,
    RunLog,
    class_colors,
    draw_class_legend,
    draw_on_image,
    method_styles,
    plot_differences,
    plot_domains,
    plot_gain,
    plot_pareto,
    plot_robustness,
    plot_runs,
    plot_seeds,
    style_of,
)

plt = pytest.importorskip('matplotlib.pyplot')
NAMES = [f'm{i}' for i in range(24)]


def test_every_method_has_a_look_of_its_own():
    styles = method_styles(NAMES, 'm3')
    assert list(styles) != [] and set(styles) == set(NAMES)
    assert len({s.color for s in styles.values()}) == 24
    assert styles['m3'].color == '#000000'
    assert [s.color for s in styles.values()].count('#000000') == 1
    # Who joins later does not change the others.
    assert method_styles([*NAMES, 'new'], 'm3')['m7'] == styles['m7']
    assert 'full' not in method_styles(['a'], 'full')


def test_any_number_of_lines_has_colours_of_its_own_and_none_is_yellow():
    looks = [style_of(i) for i in range(200)]
    assert len({look.color for look in looks}) == 200
    # Close colours differ in marker or dash.
    assert len({(look.marker, look.line) for look in looks[:28]}) == 28
    for look in looks:
        rgb = [int(look.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        hue, _, value = colorsys.rgb_to_hsv(*rgb)
        assert not (0.12 < hue < 0.19 and value > 0.5), look


@pytest.mark.parametrize('most', [0.052, 0.8, 3e4])
def test_numbers_of_a_logarithmic_axis_stand_apart(tmp_path, figures, most):
    points = [Point('a', 0.0033, 1), Point('b', most, 2)]
    plot_gain(tmp_path / 'g.svg', points, method_styles('ab', 'a'))
    (axis,) = figures[0].axes
    assert axis.get_xscale() == 'log'
    figures[0].canvas.draw()
    left, right = axis.get_xlim()
    ticks = [*axis.xaxis.get_major_ticks(), *axis.xaxis.get_minor_ticks()]
    shown = [t.label1 for t in ticks if left <= t.get_loc() <= right and t.label1.get_text()]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    assert len(boxes) >= 3
    assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:]))


def test_pareto_front_is_drawn_through_its_methods(tmp_path, figures):
    points = [Point('a', 1, 10, 9, 11), Point('b', 2, 30), Point('c', 3, 20, 18, 22)]
    plot_pareto(tmp_path / 'p.svg', points, ['a', 'b'], method_styles('abc', 'c'), 'FLOPs', 'mAP')
    (axis,) = figures[0].axes
    named = {text.get_text() for text in figures[0].legends[0].get_texts()}
    assert named == {'a', 'b', 'c'} and 'dashed: Pareto front' in axis.get_title()
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


def test_differences_have_a_row_a_method_from_the_top(tmp_path, figures):
    rows = [Difference('$a$, 66 %', [1, 2.5, 1], 1.5, -0.6, 3.6), Difference('b', [-4], -4)]
    plot_differences(tmp_path / 'd.svg', rows, 'AP50 minus that of full')
    (axis,) = figures[0].axes
    bottom, top = axis.get_ylim()
    assert bottom > 1 > 0 > top  # the first row lies on top
    assert [label.get_text() for label in axis.get_yticklabels()] == [r'\$a\$, 66 %', 'b']
    drawn = [(line.get_marker(), *map(list, line.get_data())) for line in axis.lines[1:]]
    assert drawn[0] == ('None', [-0.6, 3.6], [0, 0])
    assert drawn[1:3] == [('o', [1, 2.5, 1], [0, 0, 0]), ('D', [1.5], [0])]
    assert drawn[3:] == [('o', [-4], [1]), ('D', [-4], [1])]  # one seed has no interval
    with pytest.raises(ValueError, match='at least one method'):
        plot_differences(tmp_path / 'none.svg', [])


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


def test_the_score_of_a_box_that_leaves_the_picture_is_in_it(tmp_path, figures):
    square = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
    quads = square + np.array([[-10, -10], [50, 30]])[:, None]
    boxes = Boxes(quads, np.array([0, 0]), np.array([0.25, 0.75]))
    image = np.zeros((40, 60, 3), np.uint8)
    draw_on_image(tmp_path / 'i.png', image, boxes, ['white'])
    draw_on_image(tmp_path / 'without.png', image, boxes._replace(scores=None), ['white'])
    (axis,) = figures[0].axes
    frame = axis.get_window_extent()
    for text in axis.texts:
        extent = text.get_window_extent(figures[0].canvas.get_renderer())
        assert frame.x0 - 1 <= extent.x0 and extent.x1 <= frame.x1 + 1
        assert frame.y0 - 1 <= extent.y0 and extent.y1 <= frame.y1 + 1
    one, two = (plt.imread(tmp_path / name) for name in ('i.png', 'without.png'))
    assert (one != two)[:40, :40].any()  # drawn, though the corner it belongs to is outside


def test_nothing_but_zeros_has_an_axis_to_one(tmp_path, figures):
    """No ticks of 1e-9, as if they meant something."""
    train = [{'epoch': 1, 'iter': i, 'loss': 0.0} for i in (1, 2)]
    val = [{'step': 1, 'toy/mAP': 0.0}, {'step': 2, 'toy/mAP': 0.0}]
    zeros = RunLog(
        'a', train, val, drift=[dict(iter=2, network=0.0, stages={}, cka={'s': 1 - 1e-9})]
    )
    plot_seeds(tmp_path / 'a.svg', {'seed 0': zeros})
    plot_domains(tmp_path / 'b.svg', np.zeros((2, 2)), 'ab', 'xy', np.zeros((2, 2)))
    plot_domains(tmp_path / 'c.svg', np.zeros((2, 2)), 'ab', 'xy')
    plot_robustness(tmp_path / 'd.svg', 0.0, {'fog': {1: 0.0}}, {}, {'haze': 0.0})
    plot_pareto(
        tmp_path / 'e.svg', [Point('a', 1, 0), Point('b', 2, 0)], ['a'], method_styles([*'ab'])
    )
    plot_gain(tmp_path / 'f.svg', [Point('a', 0, 0)], method_styles(['a']))
    plot_runs(tmp_path / 'g.svg', [zeros])
    for figure in figures:
        for axis in figure.axes:
            low, high = axis.get_ylim()
            assert abs(high - low) > 0.01 and abs(np.subtract(*axis.get_xlim())) > 0.01
            offsets = [side.get_offset_text().get_text() for side in (axis.xaxis, axis.yaxis)]
            assert offsets == ['', '']
            assert all(image.norm.vmax - image.norm.vmin >= 1 for image in axis.images)
