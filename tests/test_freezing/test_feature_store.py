"""Features that are kept and read again: whole and of the right weights, or not at all."""

import errno
import os
import pickle
import time
from dataclasses import replace

import pytest
import torch

from mmbackbone_plugins.freezing import feature_store
from mmbackbone_plugins.freezing.feature_store import FolderStore, Level, MemoryStore, Record

KEY = (3, 1)


def record(seed=0):
    """Maps of three types, one of half precision that was computed in single, one unread."""
    g = torch.Generator().manual_seed(seed)
    single = torch.randn(2, 5, 3, generator=g)
    return Record(
        ((3, 9, 7), torch.uint8),
        pickle.dumps(dict(boxes=[seed])),
        (
            Level((2, 5, 3), torch.float32, single),
            Level((7, 2, 2), torch.float32, torch.randn(7, 2, 2, generator=g).bfloat16()),
            Level((4, 1, 1), torch.float16, torch.randn(4, 1, 1, generator=g).half()),
            Level((9, 8, 8), torch.float32, None),
        ),
    )


def folder_store(tmp_path, budget=10**6, entry=lambda index: f'entry{index}', **options):
    said = []
    store = FolderStore(tmp_path, budget, entry, report=said.append, **options)
    return store, said


def files(folder):
    return sorted(path.name for path in folder.rglob('*') if path.is_file())


def same(found, wanted):
    assert (found.image, found.sample) == (wanted.image, wanted.sample)
    for a, b in zip(found.levels, wanted.levels):
        assert (a.shape, a.dtype, a.map is None) == (b.shape, b.dtype, b.map is None)
        assert a.map is None or (a.map.dtype == b.map.dtype and torch.equal(a.map, b.map))
        assert a.tensor().dtype == b.dtype and tuple(a.tensor().shape) == b.shape
        assert torch.equal(a.tensor(), torch.zeros(b.shape) if b.map is None else b.map.to(b.dtype))
    return len(found.levels) == len(wanted.levels)


@pytest.mark.parametrize('kind', ['ram', 'disk'])
def test_what_is_read_is_what_was_written(kind, tmp_path):
    store = MemoryStore(10**6) if kind == 'ram' else folder_store(tmp_path)[0]
    store.begin('weights', True)
    assert store.find(KEY) is None
    store.write(KEY, record())
    store.write((3, 0), record(1))
    store.write(KEY, record(2))  # is there already
    for key, seed in ((KEY, 0), ((3, 0), 1)):
        kept = store.find(key)
        assert pickle.loads(pickle.dumps(kept)).ahead()  # in a worker
        assert same(store.read(kept), record(seed))
    # A step may write into what it is given.
    store.read(store.find(KEY)).levels[0].tensor().clone().zero_()
    assert store.find((4, 1)) is None
    if kind == 'disk':
        other, said = folder_store(tmp_path)
        other.begin('weights', True)
        assert same(other.read(other.find(KEY)), record()) and said == []
        other.read(other.find(KEY)).levels[0].tensor().zero_()
        third = folder_store(tmp_path)[0]
        third.begin('weights', True)
        assert same(third.read(third.find(KEY)), record())
        assert other.used == third.used == sum(f.stat().st_size for f in tmp_path.rglob('*.*'))


def flips(size):
    """Bits of a file: all of magic, checksum and length, some of header and maps."""
    behind = (20, 40, size // 3, size // 2, size - 130, size - 65, size - 1)
    return [(place, bit) for place in range(20) for bit in range(8)] + [(p, 3) for p in behind]


def test_a_spoiled_byte_anywhere_is_found_and_the_file_goes(tmp_path):
    first, _ = folder_store(tmp_path)
    first.begin('weights', True)
    first.write(KEY, record())
    (path,) = (tmp_path / 'weights').iterdir()
    whole = path.read_bytes()
    for place, bit in flips(len(whole)):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << bit
        path.write_bytes(spoiled)
        store, said = folder_store(tmp_path)
        store.begin('weights', True)
        kept = store.find(KEY)
        assert bit or kept.ahead()  # a worker leaves it to the store
        assert store.read(kept) is None, (place, bit)
        assert not path.exists() and len(said) == 1
        assert str(path) in said[0] and 'is not whole and is made anew' in said[0]
    for cut in (0, 5, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        store, said = folder_store(tmp_path)
        store.begin('weights', True)
        kept = store.find(KEY)
        assert kept.ahead() and store.read(kept) is None and said and not path.exists()
    store.write(KEY, record())
    assert path.read_bytes() == whole and same(store.read(store.find(KEY)), record())


def test_a_file_that_has_gone_is_nothing(tmp_path):
    store, said = folder_store(tmp_path)
    store.begin('weights', True)
    store.write(KEY, record())
    kept = store.find(KEY)
    (tmp_path / 'weights' / files(tmp_path)[0]).unlink()
    assert store.find(KEY) is None and not kept.ahead() and store.read(kept) is None
    assert said == []
    store.write(KEY, record(5))
    assert same(store.read(store.find(KEY)), record(5))


def test_images_and_annotations_name_the_files(tmp_path):
    store = folder_store(tmp_path)[0]
    store.begin('weights', True)
    store.write(KEY, record())
    changed = folder_store(tmp_path, entry=lambda index: 'another file')[0]
    changed.begin('weights', True)
    assert changed.find(KEY) is None and store.find(KEY) is not None


@pytest.mark.parametrize('kind', ['ram', 'disk'])
def test_no_more_than_the_budget(kind, tmp_path):
    one = record().nbytes
    assert one == len(record().sample) + 4 * 30 + 2 * 28 + 2 * 4
    large = replace(record(), levels=(Level((50, 50), torch.float32, torch.ones(50, 50)),))
    sizes = dict(ram=3 * large.nbytes, disk=int(3.3 * large.nbytes))
    budget = sizes[kind]
    store = MemoryStore(budget) if kind == 'ram' else folder_store(tmp_path, budget)[0]
    store.begin('weights', True)
    for i in range(5):
        store.write((i, 0), large)
    assert [store.find((i, 0)) is not None for i in range(5)] == [True] * 3 + [False] * 2
    store.refresh()
    assert 3 * large.nbytes <= store.used <= budget
    if kind == 'ram':
        store.begin('others', True)  # begins anew
        store.write((4, 0), large)
        assert store.find((4, 0)) and store.find((0, 0)) is None and store.used == large.nbytes
    else:  # two that share what is left never have more together
        pair = [folder_store(tmp_path, 6 * large.nbytes, writers=2)[0] for _ in range(2)]
        for store in pair:
            store.begin('weights', True)
        for i, store in enumerate(pair * 4):
            store.write((10 + i, 0), large)
        assert len(files(tmp_path)) == 5
        pair[0].refresh()
        assert pair[0].used <= 6 * large.nbytes


def test_a_full_disk_is_said_once_and_nothing_more_is_written(tmp_path, monkeypatch):
    store, said = folder_store(tmp_path)
    store.begin('weights', True)
    store.write(KEY, record())
    asked = []

    def full(path, mode):
        asked.append(path)
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(feature_store, 'atomic_write', full)
    for i in range(3):
        store.write((i, 0), record())
    assert len(asked) == len(said) == 1
    assert 'nothing more is kept' in said[0] and 'No space left' in said[0]
    monkeypatch.undo()
    store.write((0, 0), record())
    assert len(files(tmp_path)) == 1 and same(store.read(store.find(KEY)), record())


def test_a_folder_that_has_gone_ends_the_writing(tmp_path):
    store, said = folder_store(tmp_path / 'folder')
    store.begin('weights', True)
    os.rmdir(tmp_path / 'folder' / 'weights')
    store.write(KEY, record())
    assert len(said) == 1 and store.find(KEY) is None
    store.refresh()


def test_other_weights_drop_what_lasts_no_longer(tmp_path):
    store, _ = folder_store(tmp_path)
    store.begin('pretrained', True)
    store.write(KEY, record(0))
    before = store.find(KEY)
    store.begin('epoch 1', False)
    assert store.find(KEY) is None and store.used == 0
    assert store.read(before) is None  # a loader that reads ahead may still ask for it
    store.write(KEY, record(1))
    store.begin('epoch 2', False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['epoch 2', 'pretrained']
    store.begin('pretrained', True)
    assert [p.name for p in tmp_path.iterdir()] == ['pretrained']
    assert same(store.read(store.find(KEY)), record(0)) and before.path == store.find(KEY).path
    store.begin('epoch 3', False)
    store.close()
    assert [p.name for p in tmp_path.iterdir()] == ['pretrained']
    memory = MemoryStore(10**6)
    for fingerprint in ('a', 'b', 'a'):
        memory.begin(fingerprint, True)
        assert memory.find(KEY) is None
        memory.write(KEY, record())
        memory.begin(fingerprint, True)
        assert memory.find(KEY)
    memory.close()
    assert memory.find(KEY) is None


def test_a_temporary_folder_goes_at_the_end(tmp_path):
    store, _ = folder_store(tmp_path / 'work', temporary=True)
    store.begin('weights', True)
    store.write(KEY, record())
    store.close()
    assert not (tmp_path / 'work').exists()


def test_drafts_of_writers_that_were_killed_go_when_they_are_old(tmp_path):
    place = tmp_path / 'weights'
    place.mkdir()
    for name, age in (('old.features.7.new', 7200), ('now.features.8.new', 5)):
        (place / name).write_bytes(b'half')
        os.utime(place / name, (time.time() - age,) * 2)
    store, said = folder_store(tmp_path)
    store.begin('weights', True)
    assert files(tmp_path) == ['now.features.8.new'] and said == []


def test_two_stores_on_one_folder(tmp_path):
    """What one has written the other finds, does not write again, and survives the loss of."""
    one, two = (folder_store(tmp_path)[0] for _ in range(2))
    for store in (one, two):
        store.begin('weights', True)
    one.write(KEY, record(0))
    two.write(KEY, record(1))
    two.write((4, 0), record(2))
    assert same(two.read(two.find(KEY)), record(0)) and same(one.read(one.find((4, 0))), record(2))
    two.refresh()
    one.refresh()
    assert one.used == two.used > 2 * record().nbytes and len(files(tmp_path)) == 2
    held = one.read(one.find(KEY))
    for file in (tmp_path / 'weights').iterdir():
        file.unlink()
    assert same(held, record(0)) and two.find(KEY) is None
