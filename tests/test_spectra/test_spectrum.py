"""Eigenvalues and their summaries against closed forms."""

import math

import numpy as np
import pytest
import torch

import mmbackbone_plugins
from mmbackbone_plugins.spectra import (
    SecondMoment,
    Spectra,
    decay_exponent,
    effective_rank,
    eigenspectrum,
    intrinsic_dimensionality,
    load_spectra,
    participation_ratio,
    save_spectra,
    summarize,
)


def test_eigenvalues_descend_in_the_kind_that_was_given():
    a = np.random.default_rng(0).normal(size=(30, 12))
    matrix = a.T @ a
    wanted = np.linalg.eigvalsh(matrix)[::-1]
    array, tensor = eigenspectrum(matrix), eigenspectrum(torch.from_numpy(matrix))
    assert isinstance(array, np.ndarray) and isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(array, wanted, rtol=1e-12)
    np.testing.assert_array_equal(tensor.numpy(), array)
    single = eigenspectrum(torch.from_numpy(matrix).float())
    assert single.dtype == torch.float64
    np.testing.assert_allclose(single.numpy(), wanted, rtol=1e-4)


def test_the_package_can_be_called_as_its_function():
    assert mmbackbone_plugins.eigenspectrum(np.diag([1.0, 3.0])).tolist() == [3.0, 1.0]
    assert mmbackbone_plugins.spectra.SecondMoment is mmbackbone_plugins.SecondMoment


def test_tiny_negatives_are_clamped_and_counted():
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    values = np.array([4.0, 1.0, 1e-3, 0.0, -1e-12, -3e-10])
    matrix = basis @ np.diag(values) @ basis.T
    matrix = (matrix + matrix.T) / 2
    found = eigenspectrum(matrix)
    assert found.min() == 0 and (found[:3] > 9e-4).all()
    summary = summarize(matrix).summary
    assert summary.clamped >= 2 and summary.most_negative == pytest.approx(-3e-10, rel=1e-3)
    with pytest.raises(ValueError, match=r'lowest eigenvalue is -0.0001.*no second moment'):
        eigenspectrum(np.diag([1.0, 0.5, -1e-4]))


def test_centring_constant_features_is_no_error():
    """What is left is rounding, of either sign: small against the uncentred matrix only."""
    moment = SecondMoment(16)
    generator = torch.Generator().manual_seed(0)
    constant = torch.rand(1, 16, 1, 1, generator=generator) * 1e4
    for _ in range(5):
        moment.update(constant.expand(2, 16, 7, 7))
    summary = summarize(moment, center=True).summary
    assert summary.dim == 0 and summary.largest < 1e-4


def test_dimension_counts_above_the_threshold():
    exact = np.array([10.0, 1.0, 2e-3, 1e-3, 1e-4, 0.0])
    assert intrinsic_dimensionality(exact) == 3  # not at the threshold
    assert intrinsic_dimensionality(torch.from_numpy(exact), 2e-3) == 2
    assert intrinsic_dimensionality(exact, relative=True) == 2
    assert intrinsic_dimensionality(exact, 0.05, relative=True) == 2
    assert intrinsic_dimensionality(exact * 0, relative=True) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_matrices_and_eigenvalues_of_any_real_type(dtype):
    matrix = torch.diag(torch.tensor([1, 0, 1])).to(dtype)
    assert eigenspectrum(matrix).tolist() == [1, 1, 0]
    assert intrinsic_dimensionality(matrix.diagonal()) == 2
    assert intrinsic_dimensionality([1, 0, 1], np.float32(1e-3)) == 2
    assert intrinsic_dimensionality([]) == 0
    turned = np.eye(3)[::-1, ::-1]  # an array with negative strides
    assert eigenspectrum(turned).tolist() == [1, 1, 1]


def test_ranks_and_decay_in_closed_form():
    flat = np.array([2.0] * 7 + [0.0] * 5)
    assert effective_rank(flat) == pytest.approx(7, rel=1e-12)
    assert participation_ratio(flat) == pytest.approx(7, rel=1e-12)
    two = np.array([3.0, 1.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(two) == pytest.approx(math.exp(entropy), rel=1e-12)
    assert participation_ratio(two * 1e-200) == pytest.approx(16 / 10, rel=1e-12)
    power = 5.0 * np.arange(1, 200.0) ** -1.7
    assert decay_exponent(power, 1e-6) == pytest.approx(1.7, rel=1e-9)
    noisy = np.concatenate([power[:50], np.full(100, 1e-9)])  # below the threshold: not fitted
    assert decay_exponent(noisy) == pytest.approx(1.7, rel=1e-9)
    assert math.isnan(decay_exponent(np.array([1.0, 0.5]))) and effective_rank(flat * 0) == 0
    assert participation_ratio(flat * 0) == 0


def test_a_summary_says_when_the_images_limit_the_rank(tmp_path):
    moment = SecondMoment(50)
    moment.update(torch.randn(3, 50, 3, 3))
    spectrum = summarize(moment)
    s = spectrum.summary
    assert (s.width, s.dim, s.samples, s.images) == (50, 27, 27, 3) and s.rank_limited
    assert s.saturation == 27 / 50
    moment.update(torch.randn(1, 50, 8, 8))
    assert not summarize(moment).summary.rank_limited
    spectra = Spectra({'backbone.stage1': spectrum, 'relu#2': spectrum}, dict(epoch=3))
    save_spectra(tmp_path / 'a.npz', spectra)
    loaded = load_spectra(tmp_path / 'a.npz')
    assert loaded.info == dict(epoch=3) and list(loaded.layers) == ['backbone.stage1', 'relu#2']
    np.testing.assert_array_equal(loaded.layers['relu#2'].eigenvalues, spectrum.eigenvalues)
    assert loaded.layers['relu#2'].summary == s and len(loaded.rank_limited) == 2
    assert [p.name for p in tmp_path.iterdir()] == ['a.npz']


def test_files_that_are_no_spectra(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_spectra(tmp_path / 'none.npz')
    (tmp_path / 'torn.npz').write_bytes(b'PK')
    with pytest.raises(ValueError, match='is no file of spectra'):
        load_spectra(tmp_path / 'torn.npz')


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: eigenspectrum(np.ones((2, 3))), r'matrix must be square, got \(2, 3\)'),
        (lambda: eigenspectrum(np.full((2, 2), np.nan)), 'matrix holds NaN or Inf'),
        (lambda: eigenspectrum(np.eye(2) * 1j), 'matrix must be real, got torch.complex128'),
        (lambda: eigenspectrum(torch.tensor(1.0)), 'matrix must be square'),
        (lambda: eigenspectrum(np.ones((0, 0))), 'matrix must be square'),
        (lambda: intrinsic_dimensionality(np.ones(2) * 1j), 'one row of numbers, got complex128'),
        (lambda: intrinsic_dimensionality(torch.ones(2) * 1j), 'one row of numbers, got complex64'),
        (lambda: intrinsic_dimensionality([1.0, np.inf]), 'with NaN or Inf'),
        (lambda: intrinsic_dimensionality(1.0), r'of shape \(\)'),
        (lambda: intrinsic_dimensionality([1.0], math.nan), 'threshold must be positive'),
        (lambda: eigenspectrum(np.array([[1.0, 2.0], [0.0, 1.0]])), 'matrix is not symmetric'),
        (lambda: intrinsic_dimensionality([1.0], 0), 'threshold must be positive and finite'),
        (lambda: intrinsic_dimensionality([1.0], True), 'threshold must be'),
        (lambda: intrinsic_dimensionality([1.0], 2, True), r'between 0 and 1 \(relative\), got 2'),
        (lambda: intrinsic_dimensionality(np.ones((2, 2))), 'eigenvalues must be one row'),
        (lambda: summarize(SecondMoment(3)), 'no image has counted'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
