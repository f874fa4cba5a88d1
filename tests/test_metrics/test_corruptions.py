"""Corruptions against the library called directly, and what makes them repeatable."""

import random
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS, DefaultScope

from mmbackbone_plugins import Corruption
from mmbackbone_plugins.lab.launch import register_modules
from mmbackbone_plugins.lab.toy import draw_scene
from mmbackbone_plugins.lab.toy.classes import select_classes
from mmbackbone_plugins.metrics import (
    BENCHMARK,
    GROUPS,
    VALIDATION,
    corrupt,
    image_seed,
    insert_corruption,
    select_corruptions,
)

library = pytest.importorskip('imagecorruptions')


@pytest.fixture(scope='module')
def bgr():
    """A drawn scene that is wider than high, as MMCV reads a picture."""
    image = draw_scene(0, 'train', 1, 160, select_classes('dota'), 8.0, 'clear').image
    return np.ascontiguousarray(image[:120])


def apply(image, name='P1.png', **options):
    before = image.copy()
    found = Corruption(**options)(dict(img=image, img_path=f'/data/{name}'))['img']
    assert np.array_equal(image, before)
    return found


def test_the_list_is_the_librarys():
    assert list(BENCHMARK) == library.get_corruption_names('common')
    assert list(VALIDATION) == library.get_corruption_names('validation')
    for group, names in GROUPS.items():
        assert list(names) == library.get_corruption_names(group)


@pytest.mark.parametrize('severity', [1, 5])
@pytest.mark.parametrize('name', [*BENCHMARK, *VALIDATION])
def test_the_library_called_directly(name, severity, bgr):
    """RGB in, RGB out, numpy's generator seeded; two corruptions take their seed as argument."""
    seed = image_seed('P1.png', name, severity, 7)
    rgb = np.stack([bgr[..., 2], bgr[..., 1], bgr[..., 0]], -1)
    own = dict(seed=seed) if name in ('impulse_noise', 'glass_blur') else {}
    np.random.seed(seed)
    expected = library.corrupt(rgb, severity=severity, corruption_name=name, **own)
    found = apply(bgr, corruption=name, severity=severity, seed=7)
    assert found.dtype == np.uint8 and found.flags['C_CONTIGUOUS']
    for channel in range(3):
        assert np.array_equal(found[..., channel], expected[..., 2 - channel])
    assert not np.array_equal(found, bgr)


@pytest.mark.parametrize('name', BENCHMARK)
def test_a_picture_has_its_own_noise(name, bgr):
    options = dict(corruption=name, severity=3)
    first = apply(bgr, **options)
    apply(bgr[:, ::-1], 'other.png', **options)  # what comes between changes nothing
    np.random.random(5)
    assert np.array_equal(first, apply(bgr, **options))
    if name in ('gaussian_noise', 'impulse_noise', 'glass_blur', 'fog', 'snow'):
        assert not np.array_equal(first, apply(bgr, 'P2.png', **options))
        assert not np.array_equal(first, apply(bgr, seed=1, **options))


def test_seeds_differ():
    names = [f'{i:05d}.jpg' for i in range(200)]
    seeds = {image_seed(n, c, s, 0) for n in names for c in BENCHMARK for s in range(1, 6)}
    assert len(seeds) > 0.999 * 200 * 75 and min(seeds) >= 0 and max(seeds) < 2**32
    assert image_seed('P1.png', 'fog', 3) == 3488031240  # on every machine


@pytest.mark.parametrize('name', ['gaussian_noise', 'impulse_noise', 'glass_blur', 'frost'])
def test_no_trace_in_the_callers_random_numbers(name, bgr):
    def state():
        kind, keys, *rest = np.random.get_state()
        return kind, keys.tolist(), rest, random.getstate(), torch.get_rng_state().tolist()

    before = state()
    apply(bgr, corruption=name, severity=2)
    assert state() == before


def test_severity_zero_and_no_picture(bgr):
    results = dict(img=bgr)
    assert Corruption('fog', 0)(results)['img'] is bgr
    assert Corruption('fog', 1)(None) is None
    assert corrupt(bgr, 'fog', 0, 0) is bgr


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(corruption='mist'), "corruption must be one of.*'mist'"),
        (dict(corruption='fog', severity=6), 'severity must be.*got 6'),
        (dict(corruption='fog', severity=True), 'severity must be.*got True'),
        (dict(corruption='fog', seed=-1), 'seed must be.*got -1'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Corruption(**options)


def test_bad_pictures(bgr):
    with pytest.raises(ValueError, match='P1.png: image must have at least 32 pixels.*160 x 31'):
        apply(bgr[:31], corruption='fog')
    with pytest.raises(ValueError, match='P1.png: image must be uint8.*float32'):
        apply(bgr.astype(np.float32), corruption='fog')
    with pytest.raises(ValueError, match='img_path or img_id'):
        Corruption('fog')(dict(img=bgr))


@pytest.mark.parametrize('name', BENCHMARK)
def test_the_smallest_picture(name, bgr):
    small = bgr[20:52, 10:60]
    assert apply(small, corruption=name, severity=5).shape == (32, 50, 3)


def test_without_the_library(bgr, monkeypatch):
    monkeypatch.setitem(sys.modules, 'imagecorruptions', None)
    with pytest.raises(ImportError, match='pip install imagecorruptions-imaug==1.1.5'):
        apply(bgr, corruption='fog')


def test_selection():
    assert select_corruptions(['benchmark']) == list(BENCHMARK) and len(BENCHMARK) == 15
    assert select_corruptions(['fog', 'weather', 'fog'])[:2] == ['fog', 'snow']
    with pytest.raises(ValueError, match="'mist'"):
        select_corruptions(['mist'])
    with pytest.raises(ValueError, match='at least one'):
        select_corruptions([])


def test_insertion():
    load, resize = dict(type='mmdet.LoadImageFromFile'), dict(type='mmdet.Resize')
    plain = dict(type='A', pipeline=[load, resize])
    wrapped = dict(type='W', dataset=dict(type='C', datasets=[plain, dict(plain)]))
    for dataset in insert_corruption(wrapped, 'fog', 2, 5)['dataset']['datasets']:
        kinds = [step['type'] for step in dataset['pipeline']]
        assert kinds == ['mmdet.LoadImageFromFile', 'Corruption', 'mmdet.Resize']
        assert dataset['pipeline'][1] == dict(
            type='Corruption', corruption='fog', severity=2, seed=5
        )
    with pytest.raises(ValueError, match='already'):
        insert_corruption(wrapped, 'fog', 2)
    with pytest.raises(ValueError, match="'B'.*LoadImageFromFile"):
        insert_corruption(dict(type='B', pipeline=[resize]), 'fog', 2)


@pytest.mark.parametrize('scope', ['mmdet', 'mmrotate'])
def test_the_plain_name_in_every_scope(scope):
    register_modules()
    with DefaultScope.overwrite_default_scope(scope):
        built = TRANSFORMS.build(dict(type='Corruption', corruption='fog', severity=2))
    assert isinstance(built, Corruption) and "'fog', severity=2" in repr(built)
