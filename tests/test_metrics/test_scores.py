"""mPC and rPC against closed forms."""

import math

import pytest

from mmbackbone_plugins.metrics import BENCHMARK, robustness_scores


def test_closed_form():
    """Corruption i at severity s scores 0.6 - i / 100 - s / 10: the means are known."""
    table = {c: {s: 0.6 - i / 100 - s / 10 for s in range(1, 6)} for i, c in enumerate(BENCHMARK)}
    found = robustness_scores(0.6, table)
    assert found.mpc == pytest.approx(0.6 - 0.07 - 0.3, abs=1e-12)
    assert found.rpc == pytest.approx(0.23 / 0.6, abs=1e-12) and found.clean == 0.6
    assert found.by_corruption['shot_noise'] == pytest.approx(0.29, abs=1e-12)
    assert list(found.by_corruption) == list(BENCHMARK)


def test_part_of_the_table():
    table = dict(fog={1: 0.5, 3: 0.3, 5: 0.0}, snow={1: 0.3, 3: 0.2})
    found = robustness_scores(0.8, table, ['fog', 'snow'], [1, 3])
    assert found.mpc == pytest.approx((0.4 + 0.25) / 2) and found.rpc == found.mpc / 0.8


def test_a_robust_and_a_blind_detector():
    same = {c: {s: 0.4 for s in range(1, 6)} for c in BENCHMARK}
    assert robustness_scores(0.4, same).rpc == pytest.approx(1)
    assert math.isnan(robustness_scores(0.0, same).rpc)


def test_missing_cells_are_named():
    table = {c: {s: 0.4 for s in range(1, 6)} for c in BENCHMARK}
    del table['frost'], table['fog'][2]
    table['snow'][5] = math.nan
    with pytest.raises(ValueError) as caught:
        robustness_scores(None, table)
    names = str(caught.value).split('missing: ')[1].split(', ')
    assert names == ['clean', 'snow 5', *(f'frost {s}' for s in range(1, 6)), 'fog 2']
    with pytest.raises(ValueError, match='missing: all'):
        robustness_scores(0.4, table, [], [])
