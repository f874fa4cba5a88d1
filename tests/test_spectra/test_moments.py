"""Second moments against closed forms and plain float64 sums."""

import numpy as np
import pytest
import rig
import torch

from mmbackbone_plugins.spectra import (
    NonFiniteFeature,
    SecondMoment,
    eigenspectrum,
    intrinsic_dimensionality,
    moments,
)


def plain(features, masks=None):
    """The definition, image by image, in numpy."""
    total, mean, count = 0.0, 0.0, 0
    for i, feature in enumerate(features):
        columns = np.asarray(feature, dtype=np.float64).reshape(len(feature), -1)
        if masks is not None:
            columns = columns[:, np.asarray(masks[i]).ravel()]
        if columns.shape[1]:
            total = total + columns @ columns.T / columns.shape[1]
            mean, count = mean + columns.mean(1), count + 1
    mean = mean / count
    return total / count, total / count - np.outer(mean, mean)


def plain_mean(features):
    return np.asarray(features).mean((0, 2, 3))


def planted(spectrum, positions, seed=0):
    """Features (C, positions) whose second moment has exactly that spectrum."""
    generator = np.random.default_rng(seed)
    channels = len(spectrum)
    basis, _ = np.linalg.qr(generator.normal(size=(channels, channels)))
    whitened, _ = np.linalg.qr(generator.normal(size=(positions, channels)))
    wanted = basis @ np.diag(spectrum) @ basis.T
    return basis @ np.diag(np.sqrt(spectrum)) @ whitened.T * np.sqrt(positions), wanted


def of(*batches, masks=None, channels=None):
    moment = SecondMoment(channels or batches[0].shape[1])
    for i, batch in enumerate(batches):
        moment.update(batch, None if masks is None else masks[i])
    return moment


def distance(found, wanted):
    return abs(found.numpy() - wanted).max() / abs(wanted).max()


def test_a_planted_spectrum_is_recovered():
    spectrum = np.concatenate([np.geomspace(5, 2e-3, 21), np.geomspace(9e-4, 1e-7, 43)])
    images = [planted(spectrum, p, seed=0)[0].reshape(64, h, -1) for p, h in ((96, 8), (640, 20))]
    wanted = planted(spectrum, 96, seed=0)[1]
    moment = SecondMoment(64)
    for image in images:  # the same basis, other positions: each has the planted matrix
        moment.update(torch.from_numpy(image)[None])
    assert distance(moment.matrix(), wanted) < 1e-10
    values = eigenspectrum(moment.matrix())
    assert intrinsic_dimensionality(values) == 21
    np.testing.assert_allclose(values.numpy(), spectrum, rtol=1e-6)


def test_batches_of_any_size_and_images_of_any_shape():
    torch.manual_seed(0)
    batches = [torch.rand(3, 20, 5, 7), torch.rand(1, 20, 9, 2), torch.rand(2, 20, 1, 1)]
    moment = of(*batches)
    second, centred = plain([image for batch in batches for image in batch])
    assert moment.images == 6 and moment.samples == 3 * 35 + 18 + 2
    assert distance(moment.matrix(), second) < 1e-13
    assert distance(moment.matrix(center=True), centred) < 1e-12
    # Each image weighs the same: not what all positions in one heap would give.
    heap = np.concatenate([np.asarray(b.double().transpose(0, 1).flatten(1)) for b in batches], 1)
    assert distance(moment.matrix(), heap @ heap.T / heap.shape[1]) > 1e-2


@pytest.mark.parametrize('channels', [1, 63, 65, 300])
@pytest.mark.parametrize('chunk', [1, 2**20])
@pytest.mark.parametrize('product', ['cpu', 'other'])
def test_blocks_and_chunks_lose_nothing(product, channels, chunk, monkeypatch):
    monkeypatch.setitem(moments.PRODUCTS, 'cpu', moments.PRODUCTS[product])
    monkeypatch.setitem(moments.CHUNK, 'cpu', chunk)
    monkeypatch.setattr(moments, 'LEAST_COLUMNS', 3)
    batch = torch.randn(3, channels, 5, 4)
    masks = torch.rand(3, 5, 4) > 0.4
    matrix = of(batch).matrix()
    assert distance(matrix, plain(batch)[0]) < 1e-12
    assert torch.equal(matrix, matrix.T)
    assert distance(of(batch, masks=[masks]).matrix(), plain(batch, masks)[0]) < 1e-12


def test_merging_in_any_order_is_one_pass():
    torch.manual_seed(0)
    batches = [torch.randn(n, 12, 6, 6) + n for n in (1, 4, 2)]
    whole = of(*batches)
    for order in ([0, 1, 2], [2, 0, 1]):
        parts = [of(batches[i]) for i in order]
        merged = SecondMoment(12).merge(parts[0]).merge(parts[1].merge(parts[2]))
        assert (merged.images, merged.samples) == (whole.images, whole.samples)
        assert distance(merged.matrix(), whole.matrix().numpy()) < 1e-14
        assert distance(merged.matrix(True), whole.matrix(True).numpy()) < 1e-12
    assert of(batches[0]).merge(SecondMoment(12)).matrix().equal(of(batches[0]).matrix())


def test_small_eigenvalues_beside_a_large_mean():
    """Mean 10 and deviation 0.01: in float32 the rounding is larger than what is sought."""
    torch.manual_seed(0)
    batch = torch.randn(4, 32, 40, 40) * 0.01 + 10
    moment = of(batch)
    second, centred = plain(batch)
    assert distance(moment.matrix(), second) < 1e-13
    values = eigenspectrum(moment.matrix()).numpy()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(second)[::-1], rtol=1e-7)
    assert values[1:] == pytest.approx(1e-4, rel=0.3)  # all but the mean's direction
    within = eigenspectrum(moment.matrix(center=True)).numpy()
    np.testing.assert_allclose(within, np.linalg.eigvalsh(centred)[::-1], rtol=1e-6)
    assert within == pytest.approx(1e-4, rel=0.3)
    flat = batch.transpose(0, 1).flatten(1)  # what the same sums give in float32
    single = flat @ flat.T / flat.shape[1]
    assert not np.allclose(np.linalg.eigvalsh(single.numpy())[::-1][1:], values[1:], rtol=0.3)


@pytest.mark.parametrize('ratio', [10, 1e5, 1e8])
@pytest.mark.parametrize('parts', [1, 3])
def test_centring_beside_a_mean_far_from_zero(ratio, parts):
    """Means of up to 1e8 deviations, in every second channel, of images in float64."""
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(6, 8, 20, 20, dtype=torch.float64, generator=generator)
    batches[:, ::2] += ratio * torch.rand(4, 1, 1, dtype=torch.float64, generator=generator)
    moment = SecondMoment(8)
    for part in batches.chunk(parts):
        moment.merge(of(part))
    near = batches - batches[0].mean((1, 2), keepdim=True)  # has the same, and keeps its digits
    assert distance(moment.matrix(center=True), plain(near)[1]) < 1e-12
    second, _ = plain(batches)
    assert distance(moment.matrix(), second) < 1e-13
    assert distance(moment.state_dict()['means'] / 6, plain_mean(batches)) < 1e-13
    again = SecondMoment(8).load_state_dict(moment.state_dict())  # sums about 0, as ever
    assert (again.images, again.samples) == (6, 2400)
    assert distance(again.matrix(), second) < 1e-13
    assert torch.equal(moment.matrix(), moment.matrix().T)


def test_masked_positions_are_left_out():
    batch, masks = torch.randn(4, 8, 6, 5), torch.rand(4, 6, 5) > 0.5
    masks[2] = False  # an image without a position does not count
    batch[0][:, ~masks[0]] = float('nan')  # and what is masked may be anything
    moment = of(batch, masks=[masks])
    second, centred = plain(batch, masks)
    assert moment.images == 3 and moment.samples == int(masks.sum())
    assert distance(moment.matrix(), second) < 1e-13
    assert distance(moment.matrix(True), centred) < 1e-12
    everything = of(batch[1:], masks=[torch.ones(3, 6, 5, dtype=torch.bool)])
    assert distance(everything.matrix(), of(batch[1:]).matrix().numpy()) < 1e-14


def test_tokens_half_precision_and_memory_layouts():
    maps = torch.randn(3, 16, 6, 5)
    wanted = of(maps).matrix()
    tokens = maps.flatten(2).transpose(1, 2)
    assert distance(of(tokens.contiguous(), channels=16).matrix(), wanted.numpy()) < 1e-14
    assert distance(of(maps.to(memory_format=torch.channels_last)).matrix(), wanted.numpy()) < 1e-14
    mask = torch.rand(3, 30) > 0.5
    by_tokens = of(tokens, masks=[mask], channels=16).matrix().numpy()
    assert distance(of(maps, masks=[mask.view(3, 6, 5)]).matrix(), by_tokens) < 1e-14
    half = maps.half() * 100  # sums beyond what half precision holds are no NaN
    assert distance(of(half).matrix(), plain(half)[0]) < 1e-13


def test_arrays_whole_numbers_and_nothing():
    images = np.random.default_rng(0).integers(0, 9, (2, 4, 3, 3))
    wanted = plain(images)[0]
    flipped = np.ascontiguousarray(images[..., ::-1])[..., ::-1]
    for given in (images, images.astype(np.float32), torch.from_numpy(images), flipped):
        moment = SecondMoment(np.int64(4))
        moment.update(given, np.ones((2, 3, 3), dtype=bool))
        assert distance(moment.matrix(), wanted) < 1e-14
    for empty in (torch.rand(0, 4, 3, 3), torch.rand(2, 4, 0, 3)):
        moment.update(empty)
    assert moment.images == 2


def test_memory_does_not_grow_with_images():
    moment = SecondMoment(8)
    sizes = set()
    for _ in range(5):
        moment.update(torch.randn(7, 8, 9, 9))
        sizes.add(sum(rig.nbytes(t) for t in moment.state_dict().values()))
    assert sizes == {8 * (64 + 8 + 2)}


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_what_is_not_finite_is_refused(value):
    moment = of(torch.randn(2, 4, 3, 3))
    bad = torch.randn(3, 4, 3, 3)
    bad[1, 2, 0, 1] = value
    with pytest.raises(NonFiniteFeature, match='image 1 of the batch hold NaN or Inf'):
        moment.update(bad)
    with pytest.raises(NonFiniteFeature, match='image 1 of'):
        moment.update(bad, torch.ones(3, 3, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda m: SecondMoment(0), 'num_channels must be a positive whole number, got 0'),
        (lambda m: m.update(torch.rand(2, 5, 3, 3)), r'features must be \(N, 4, H, W\)'),
        (lambda m: m.update(torch.rand(2, 4)), r'tokens \(N, L, 4\), got \(2, 4\)'),
        (
            lambda m: m.update(torch.rand(2, 4, 3, 3), torch.ones(2, 3, 4, dtype=torch.bool)),
            r'mask must be bool and \(2, 3, 3\)',
        ),
        (lambda m: m.update(torch.rand(2, 4, 3, 3), torch.ones(2, 3, 3)), 'mask must be bool'),
        (lambda m: m.matrix(), 'no image has counted'),
        (lambda m: m.merge(SecondMoment(5)), 'moments of 4 and 5 channels do not merge'),
        (lambda m: m.update(torch.rand(2, 4, 3, 3) * 1j), 'features must be real, got'),
        (lambda m: m.load_state_dict(SecondMoment(5).state_dict()), 'a moment of 4 channels has'),
        (lambda m: m.load_state_dict({}), 'a moment of 4 channels has a state of'),
        (
            lambda m: m.load_state_dict(dict(m.state_dict(), second=torch.zeros(3, 3))),
            r"'second': \(3, 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(SecondMoment(4))
