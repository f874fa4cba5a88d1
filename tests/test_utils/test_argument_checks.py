"""Arguments are returned, or refused with their name, their value and what is allowed."""

import numpy as np
import pytest

from mmbackbone_plugins.utils.checks import choice, flag, whole_number


@pytest.mark.parametrize('value', [1, 7, np.int64(3)])
def test_whole_numbers(value):
    found = whole_number('n', value)
    assert found == value and type(found) is int


@pytest.mark.parametrize('value', [0, -1, True, 2.0, '3', None, float('nan')])
def test_no_whole_numbers(value):
    with pytest.raises(ValueError, match='n must be a positive integer, got'):
        whole_number('n', value)


def test_bounds_of_whole_numbers():
    assert whole_number('n', 0, least=0) == 0 and whole_number('n', 5, most=5) == 5
    with pytest.raises(ValueError, match='n must be at most five, got 6'):
        whole_number('n', 6, allowed='at most five', most=5)


def test_flags_and_choices():
    assert flag('f', False) is False and choice('c', 'b', ('a', 'b')) == 'b'
    for value in (0, 'False', None):
        with pytest.raises(ValueError, match=f'f must be True or False, got {value!r}'):
            flag('f', value)
        with pytest.raises(ValueError, match=f'c must be one of False, True, got {value!r}'):
            choice('c', value, (False, True))
