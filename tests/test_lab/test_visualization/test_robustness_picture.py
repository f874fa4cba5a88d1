"""The picture of a sweep shows the numbers that it was given."""

import math

import pytest

from mmbackbone_plugins.lab.visualization import plot_robustness
from mmbackbone_plugins.metrics import GROUPS

TABLE = dict(
    contrast={1: 0.40, 3: 0.20}, shot_noise={1: 0.35, 3: 0.05}, mist={1: 0.111, 3: math.nan}
)


@pytest.fixture
def drawn(figures, tmp_path):
    """Draws, and returns the figure with the texts in each of its axes."""

    def draw(*arguments, **options):
        plot_robustness(tmp_path / 'x.png', *arguments, **options)
        (figure,) = figures
        return figure, [[t.get_text().strip() for t in a.texts] for a in figure.axes]

    return draw


def test_numbers(drawn):
    figure, (cells, bars) = drawn(0.5, TABLE, GROUPS, dict(haze=0.45))
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert rows == ['shot noise', 'contrast', 'mist']  # by group, others last
    assert cells == ['35.0', '5.0', '40.0', '20.0', '11.1']
    assert bars == ['20.0', '30.0', '-', '45.0', 'clean']
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert widths == pytest.approx([20, 30, 0, 45])


def test_summary_in_the_title(drawn):
    whole = {name: TABLE[name] for name in ('contrast', 'shot_noise')}
    figure, _ = drawn(0.5, whole, GROUPS, title='a detector')
    title = figure.get_suptitle()
    assert 'a detector' in title and 'clean 50.0, mean under corruption 25.0 (50 % of' in title


def test_only_test_sets(drawn):
    figure, (bars,) = drawn(0.5, {}, GROUPS, dict(haze=0.45))
    assert bars == ['45.0', 'clean']


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match='scores must have'):
        plot_robustness(tmp_path / 'x.png', 0.5, {}, GROUPS)
