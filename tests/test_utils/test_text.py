"""Tables and durations."""

import pytest

from mmbackbone_plugins.utils.text import duration_text, table

ROWS = [('stage', 'n', 'why'), ('a', '1,000', ''), ('longer', '2', 'x')]


def test_the_first_column_is_to_the_left_and_others_to_the_right():
    assert table(ROWS) == 'stage       n  why\na       1,000\nlonger      2    x'


def test_columns_as_asked_for():
    assert table(ROWS, '><<') == ' stage  n      why\n     a  1,000\nlonger  2      x'


@pytest.mark.parametrize(
    'seconds, words', [(0, '0.0 s'), (59.94, '59.9 s'), (245, '4 min 05 s'), (7620, '2 h 07 min')]
)
def test_durations(seconds, words):
    assert duration_text(seconds) == words
