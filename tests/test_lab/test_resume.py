"""Which checkpoint a run goes on from, when the last one is torn, gone or damaged."""

import os
import zipfile

import pytest
import rig
import torch
from mmengine.config import Config

from mmbackbone_plugins.lab import resume


def save(path, value=0):
    torch.save(dict(state_dict=dict(w=torch.full((1000,), float(value)))), path)
    return path


def tear(path, part=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises((RuntimeError, EOFError, OSError)):  # what mmengine would have met
        torch.load(path, weights_only=False)
    return path


@pytest.fixture
def work_dir(tmp_path):
    """Three epochs, as mmengine leaves them."""
    for epoch in (2, 9, 10):
        save(tmp_path / f'epoch_{epoch}.pth', epoch)
    save(tmp_path / 'best_dota_mAP_epoch_9.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_10.pth'))
    return tmp_path


def chosen(work_dir):
    path, wrong = resume.last_checkpoint(str(work_dir))
    return os.path.basename(path or '') or None, wrong


def test_the_last_one_is_taken(work_dir):
    before = {p: p.read_bytes() for p in work_dir.iterdir()}
    assert chosen(work_dir) == ('epoch_10.pth', [])
    assert before == {p: p.read_bytes() for p in work_dir.iterdir()}


@pytest.mark.parametrize('part', [0, 0.5, 0.999])
def test_a_torn_one_is_passed_over_for_the_one_before(work_dir, part):
    torn = tear(work_dir / 'epoch_10.pth', part)
    name, wrong = chosen(work_dir)
    assert name == 'epoch_9.pth'
    assert len(wrong) == 1 and str(torn) in wrong[0] and 'torn or damaged' in wrong[0]
    tear(work_dir / 'epoch_9.pth')
    name, wrong = chosen(work_dir)
    assert name == 'epoch_2.pth' and len(wrong) == 2  # not the best: it has no optimizer
    tear(work_dir / 'epoch_2.pth')
    with pytest.raises(ValueError, match='no checkpoint in .* can be loaded') as error:
        chosen(work_dir)
    assert all(f'epoch_{e}.pth' in str(error.value) for e in (2, 9, 10))


def test_killed_in_the_write_of_the_first_one(tmp_path, capsys):
    """There never was one: the command of a requeued job starts anew."""
    tear(save(tmp_path / 'epoch_1.pth'))
    name, wrong = chosen(tmp_path)
    assert name is None and 'epoch_1.pth is torn' in wrong[0]
    cfg = Config(dict(work_dir=str(tmp_path), resume=False, load_from='probed.pth'))
    resume.choose_checkpoint(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'probed.pth')
    assert 'starting anew' in capsys.readouterr().err
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    with pytest.raises(ValueError, match='can be loaded'):
        chosen(tmp_path)


def test_flipped_bytes_are_found(work_dir):
    path = work_dir / 'epoch_10.pth'
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda i: i.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 2000] ^= 255
    path.write_bytes(content)
    name, wrong = chosen(work_dir)
    assert name == 'epoch_9.pth' and 'is damaged' in wrong[0]
    assert resume.defect(path, whole=False) is None  # a look at the list of contents alone


def test_one_that_is_newer_than_the_last_is_not_taken(work_dir):
    """It may be of an earlier, longer run in the same work dir."""
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_9.pth'))
    assert chosen(work_dir) == ('epoch_9.pth', [])
    tear(work_dir / 'epoch_9.pth')
    assert chosen(work_dir)[0] == 'epoch_2.pth'


@pytest.mark.parametrize('pointer', ['', None])
def test_without_a_usable_pointer_the_newest_is_taken(work_dir, pointer):
    for age, epoch in enumerate((10, 2, 9)):  # a work dir used twice
        os.utime(work_dir / f'epoch_{epoch}.pth', (1e9 - age, 1e9 - age))
    (work_dir / 'last_checkpoint').unlink()
    if pointer is not None:
        (work_dir / 'last_checkpoint').write_text(pointer)
    assert chosen(work_dir)[0] == 'epoch_10.pth'
    tear(work_dir / 'epoch_10.pth')
    os.utime(work_dir / 'epoch_10.pth', (1e9, 1e9))
    assert chosen(work_dir)[0] == 'epoch_2.pth'


def test_a_work_dir_that_was_moved(work_dir):
    (work_dir / 'last_checkpoint').write_text('/somewhere/else/epoch_9.pth')
    assert chosen(work_dir) == ('epoch_9.pth', [])
    (work_dir / 'last_checkpoint').write_text('/somewhere/else/epoch_12.pth')
    with pytest.raises(ValueError, match='epoch_12.pth is not there'):
        chosen(work_dir)  # removed before the next was written: max_keep_ckpts=1


def test_iterations_and_epochs_are_not_mixed(work_dir):
    for iteration in (900, 1000):
        save(work_dir / f'iter_{iteration}.pth')
    (work_dir / 'last_checkpoint').write_text(str(tear(work_dir / 'iter_1000.pth')))
    assert chosen(work_dir)[0] == 'iter_900.pth'


def test_nothing_yet_and_other_storage(tmp_path):
    assert chosen(tmp_path) == (None, [])
    assert chosen(tmp_path / 'nowhere') == (None, [])
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/epoch_3.pth')
    assert resume.last_checkpoint(str(tmp_path)) == ('s3://bucket/epoch_3.pth', [])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    (tmp_path / 'epoch_1.pth').mkdir()  # sharded
    assert chosen(tmp_path)[0] == 'epoch_1.pth'


def test_what_the_config_gets(work_dir, capsys):
    cfg = Config(dict(work_dir=str(work_dir), resume=False, load_from='probed.pth'))
    resume.choose_checkpoint(cfg, None)
    assert (cfg.resume, cfg.load_from) == (False, 'probed.pth')
    resume.choose_checkpoint(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(work_dir / 'epoch_10.pth'))
    assert capsys.readouterr().err == ''
    tear(work_dir / 'epoch_10.pth')
    resume.choose_checkpoint(cfg, 'auto')
    warning = capsys.readouterr().err
    assert cfg.load_from.endswith('epoch_9.pth')
    assert 'epoch_10.pth is torn' in warning and 'Going on from' in warning
    resume.choose_checkpoint(cfg, str(work_dir / 'epoch_2.pth'))
    assert (cfg.resume, cfg.load_from) == (True, str(work_dir / 'epoch_2.pth'))
    with pytest.raises(ValueError, match="--resume: checkpoint '.*epoch_10.pth' is torn"):
        resume.choose_checkpoint(cfg, str(work_dir / 'epoch_10.pth'))
    with pytest.raises(FileNotFoundError, match='epoch_99.pth'):
        resume.choose_checkpoint(cfg, 'epoch_99.pth')


def test_the_first_start_of_a_command_that_always_resumes(tmp_path):
    """A config that starts from given weights must not lose them; without, mmengine says so."""
    cfg = Config(dict(work_dir=str(tmp_path), resume=False, load_from='probed.pth'))
    resume.choose_checkpoint(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'probed.pth')
    cfg = Config(dict(work_dir=str(tmp_path), resume=False, load_from=None))
    resume.choose_checkpoint(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)


def test_ranks_that_see_different_disks_are_refused(monkeypatch):
    cfg = Config(dict(work_dir='work', resume=True, load_from='work/epoch_3.pth'))
    resume.check_ranks_agree(cfg)  # one process
    monkeypatch.setattr(resume, 'get_world_size', lambda: 3)
    monkeypatch.setattr(resume, 'all_gather_object', lambda own: [own, own, None])
    with pytest.raises(ValueError, match='rank 0 goes on from work/epoch_3.pth, rank 2 from None'):
        resume.check_ranks_agree(cfg)
    monkeypatch.setattr(resume, 'all_gather_object', lambda own: [own] * 3)
    resume.check_ranks_agree(cfg)


@pytest.mark.run
def test_a_resumed_run_keeps_its_learning_rate(tmp_path):
    """What docs/howto/cluster.md says of more GPUs and --auto-scale-lr: here, of a larger batch."""
    rates = []
    for batch, resumed in ((2, False), (4, True)):
        scale = dict(enable=True, base_batch_size=2)
        options = dict(batch=batch, length=4, resume=resumed, auto_scale_lr=scale)
        built = rig.runner(tmp_path, epochs=1 + resumed, **options)
        built.train()
        rates += built.optim_wrapper.get_lr()['lr']
    assert rates == [0.01, 0.01]
