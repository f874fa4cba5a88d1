"""Versions of images: a function of seed, image and number, whoever reads them and when."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dataset.utils import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from mmbackbone_plugins.utils.seeded_loader import SeededLoader
from mmbackbone_plugins.utils.views import View, ViewLoader


class Noisy(Dataset):
    """Five samples, each with numbers of all three generators."""

    metainfo = dict(classes=('a',))

    def __len__(self):
        return 5

    def __getitem__(self, index):
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return dict(inputs=torch.tensor([float(index), *drawn]), data_samples=index)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Workers that were left in the middle are joined for 5 s before they are ended."""
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)


@dataclass(frozen=True)
class Kept:
    there: bool = True

    def ahead(self):
        return self.there


def loader(sampler='default', workers=0, batch=2, shuffle=True):
    kinds = dict(default=DefaultSampler, infinite=InfiniteSampler)
    return DataLoader(
        Noisy(),
        batch_size=batch,
        sampler=kinds[sampler](Noisy(), shuffle=shuffle, seed=1),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=pseudo_collate,
    )


def viewed(of, views=3, seed=0, ranks=1, find=lambda key: None):
    return ViewLoader(of, views, seed, ranks, find)


def seen(batches):
    """The numbers of each view that was read, by image and number of the view."""
    found = {}
    for batch in batches:
        for view, row in zip(batch['view'], batch['inputs']):
            assert row[0] == view.index
            assert torch.equal(found.setdefault(view.key, row), row)
    return found


def an_epoch(number, **options):
    of = loader(**{k: options.pop(k) for k in ('workers', 'batch', 'shuffle') if k in options})
    views = viewed(of, **options)
    of.sampler.set_epoch(number)
    views.start(number)
    return seen(of)


def test_a_view_depends_on_seed_image_and_number_alone():
    """Not on epoch, order, size of batches, workers, or what has been drawn before."""
    usual = {**an_epoch(0), **an_epoch(1), **an_epoch(2)}
    assert sorted(usual) == [(i, k) for i in range(5) for k in range(3)]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    for found in (
        an_epoch(5),  # the third view of three
        an_epoch(1, shuffle=False, batch=3),
        an_epoch(1, workers=2),
        an_epoch(3, views=4),
    ):
        for key in found.keys() & usual.keys():
            assert torch.equal(found[key], usual[key])
    assert {k for _, k in an_epoch(5)} == {2} and {k for _, k in an_epoch(3, views=4)} == {3}
    # No two views have a number in common, nor have those of two seeds.
    values = [tuple(v[1:].tolist()) for v in [*usual.values(), *an_epoch(0, seed=1).values()]]
    assert len({number for row in values for number in row}) == 3 * len(values) == 60


@pytest.mark.parametrize('workers', [0, 2])
def test_no_random_number_of_the_process_is_drawn(workers):
    of = loader(workers=workers, shuffle=False)
    views = viewed(of)
    views.start(0)
    generators = (random.getstate, lambda: np.random.get_state()[1].tolist(), torch.get_rng_state)
    batches = iter(of)  # which draws a seed for workers
    before = [get() for get in generators]
    list(batches)
    views.dataset.load(View(0, 0))
    after = [get() for get in generators]
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


@pytest.mark.parametrize('sampler', ['default', 'infinite'])
@pytest.mark.parametrize('workers', [0, 2])
def test_loops_of_iterations_count_passes_and_go_on_where_they_were(sampler, workers):
    def draws(past, count):
        views = viewed(loader(sampler, workers), views=2)
        batches = views.endless(past)
        found = [next(batches) for _ in range(count)]
        return [[(v.key, r.tolist()) for v, r in zip(b['view'], b['inputs'])] for b in found]

    whole = draws(0, 15)
    numbers = [{key[1] for key, _ in batch} for batch in whole]
    sizes = [len(batch) for batch in whole]
    assert sizes == ([2, 2, 1] * 5 if sampler == 'default' else [2] * 15)
    # A batch belongs to the pass in which it begins.
    assert numbers == [{sum(sizes[:i]) // 5 % 2} for i in range(15)]
    for past in (1, 4, 8):
        assert draws(past, 6) == whole[past : past + 6]


def test_ranks_count_passes_over_all_images():
    views = viewed(loader('infinite'), views=2, ranks=2)  # three images of five
    batches = views.endless(0)
    numbers = [view.number for _ in range(6) for view in next(batches)['view']]
    assert numbers == [0] * 4 + [1] * 2 + [0] * 4 + [1] * 2


def test_under_seeds_of_the_run_views_stay_what_they_are():
    """RandomStateHook's loader around this one changes the order, and nothing of a view."""

    def draws(past, seed=7):
        of = loader('default', batch=2)
        viewed(of, views=2).start(0)
        seeded = SeededLoader(of, seed)
        seeded.start(0, past)
        return list(of)

    usual, found = an_epoch(0), draws(0)
    seeded = seen(found)
    assert seeded.keys() == usual.keys() and all(torch.equal(seeded[k], usual[k]) for k in usual)
    later = draws(1)
    assert [b['view'] for b in later] == [b['view'] for b in found[1:]]


def test_what_is_kept_is_not_loaded():
    asked = []

    def find(key):
        asked.append(key)
        return {(0, 0): Kept(), (1, 0): Kept(there=False)}.get(key)

    of = loader(workers=1, shuffle=False)
    views = viewed(of, find=find)
    views.start(0)
    first = next(iter(of))
    assert first['inputs'][0] is first['data_samples'][0] is None
    assert first['view'][0] == View(0, 0, Kept())
    assert first['view'][1] == View(1, 0, None)  # its file has gone
    loaded = views.dataset.load(View(0, 0))
    assert torch.equal(loaded['inputs'], an_epoch(0)[0, 0])
    assert asked[:2] == [(0, 0), (1, 0)]


def test_the_loader_is_changed_in_place_and_left_as_it_was():
    of = loader()
    dataset, batches = of.dataset, of.batch_sampler
    views = viewed(of)
    assert of.dataset.metainfo == dataset.metainfo and len(of.dataset) == 5 and len(of) == 3
    assert of.batch_sampler.batch_size == 2
    assert of.dataset[2]['inputs'][0] == 2  # whoever asks for an image gets it
    of.dataset.mark = 1
    assert dataset.mark == 1
    views.restore()
    assert of.dataset is dataset and of.batch_sampler is batches
