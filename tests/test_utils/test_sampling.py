"""The same images each time, whatever is read beside them, and nothing changed by reading them."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.dataset.utils import pseudo_collate
from torch import nn

from mmbackbone_plugins.utils.sampling import Pristine, SeededBatches


class Remembers:
    """A transform with everything that can change from one image to the next."""

    def __init__(self):
        self.count, self.kept, self.own = 0, [], np.random.RandomState(3)

    def __call__(self, results):
        self.count += 1
        self.kept.append(results['value'])
        drawn = [random.random(), np.random.rand(), torch.rand(()).item(), self.own.rand()]
        values = [results['value'], self.count, sum(self.kept), *drawn]
        return dict(inputs=torch.tensor(values, dtype=torch.float64), data_samples=None)

    def state(self):
        return self.count, list(self.kept), self.own.get_state()[2]


class Numbers(BaseDataset):
    loaded = 0

    def load_data_list(self):
        self.loaded += 1
        return [dict(value=float(i), boxes=[i] * 3) for i in range(12)]

    def get_cat_ids(self, idx):
        return [idx % 3]


class Loader:
    batch_size = 2

    def __init__(self, dataset, collate_fn=pseudo_collate):
        self.dataset, self.collate_fn = dataset, collate_fn


class Draws:
    """A collate function that counts and draws."""

    count = 0

    def __call__(self, samples):
        self.count += 1
        return dict(pseudo_collate(samples), drawn=(self.count, random.random(), np.random.rand()))


class Preprocessor(nn.Module):
    calls = 0

    def forward(self, data, training):
        self.calls += 1
        return dict(data, calls=self.calls)


def model():
    found = nn.Module()
    found.data_preprocessor = Preprocessor()
    return found


def numbers(**options):
    return Numbers(pipeline=[Remembers()], **options)


def two(dataset):
    return ConcatDataset([dataset, numbers()])


WRAPPERS = {
    'plain': lambda d: d,
    'not-serialized': lambda d: numbers(serialize_data=False),
    'lazy': lambda d: numbers(lazy_init=True),
    'concat': two,
    'repeat': lambda d: RepeatDataset(d, 2),
    'balanced': lambda d: ClassBalancedDataset(d, 0.5),
}


def transforms_of(dataset):
    if hasattr(dataset, 'pipeline'):
        return dataset.pipeline.transforms
    inner = getattr(dataset, 'datasets', None) or [dataset.dataset]
    return [t for d in inner for t in transforms_of(d)]


def contents(batches):
    return [image for batch in batches for image in batch['inputs']]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize('name', WRAPPERS)
def test_an_image_is_the_same_whatever_was_read_before(name):
    dataset = WRAPPERS[name](numbers())
    net, collate = model(), Draws()
    batches = SeededBatches(Loader(dataset, collate), net, num_images=5)
    states = [t.state() for t in transforms_of(dataset)]
    drawn = [batch['drawn'] for batch in batches]
    first = contents(batches)
    assert [t.state() for t in transforms_of(dataset)] == states
    assert 'calls' not in vars(net.data_preprocessor)
    for index in range(0, len(dataset), 3):  # the run reads, and exchanges its pipeline
        dataset[index]
    for transform in transforms_of(dataset):
        transform.kept = None
    again = contents(batches)
    assert drawn == [batch['drawn'] for batch in batches] and collate.count == 0
    # Only its own picture is kept, whatever came before: no image knows of another.
    assert len(first) == 5 and same(first, again)
    assert all(image[1] == 1 and image[2] == image[0] for image in first)
    for size in (1, 5):
        fresh = Loader(WRAPPERS[name](numbers()))
        assert same(first, contents(SeededBatches(fresh, net, size, num_images=5)))


def test_annotations_are_shared_and_loaded_once():
    for dataset in (numbers(lazy_init=True), two(numbers(lazy_init=True))):
        copies = [Pristine(dataset)() for _ in range(2)]
        for copied in copies:
            inner = [dataset], [copied]
            if hasattr(dataset, 'datasets'):
                inner = dataset.datasets, copied.datasets
            for ours, theirs in zip(*inner):
                assert theirs is not ours and theirs.loaded == ours.loaded == 1
                assert theirs.data_bytes is ours.data_bytes
                assert theirs.data_address is ours.data_address
                assert theirs.pipeline.transforms[0] is not ours.pipeline.transforms[0]
    plain = numbers(serialize_data=False)
    plain.records, plain.few, plain.images = [dict(a=1)] * 1000, [1, 2], np.zeros((20, 60))
    copied = Pristine(plain)()
    assert copied.data_list is plain.data_list and copied.records is plain.records
    assert copied.images is plain.images and copied.few is not plain.few


def test_what_cannot_be_copied_is_refused_at_once():
    dataset = numbers()
    dataset.file = open(__file__)  # noqa: SIM115
    words = 'Numbers of the data loader cannot be copied, .*TypeError'
    with dataset.file, pytest.raises(ValueError, match=words):
        SeededBatches(Loader(dataset), model())


def branches(**images):
    names = ('sup', 'unsup_teacher', 'unsup_student')
    found = {name: images.get(name) for name in names}
    return dict(inputs=found, data_samples=dict(found))


class Branches(Numbers):
    def prepare_data(self, idx):
        image = torch.tensor([float(idx), self.filter_cfg['kind'] == 'sup'])
        return branches(**{self.filter_cfg['kind']: image})


def test_of_a_semi_supervised_data_set_the_labelled_images_are_taken():
    unlabelled = Branches(filter_cfg=dict(kind='unsup_teacher'))
    both = ConcatDataset([Branches(filter_cfg=dict(kind='sup')), unlabelled])
    found = contents(SeededBatches(Loader(both), model()))
    assert sorted(image[0].item() for image in found) == list(range(12))
    assert all(image[1] for image in found)
    words = r"several branches \('sup', 'unsup_teacher', 'unsup_student'\).* it has none"
    with pytest.raises(ValueError, match=words):
        SeededBatches(Loader(unlabelled), model())


def test_other_data_sets_will_do():
    items = [dict(inputs=torch.tensor([float(i)]), data_samples=None) for i in range(7)]
    found = contents(SeededBatches(Loader(items), model(), num_batches=2))
    assert len({image.item() for image in found}) == 4
