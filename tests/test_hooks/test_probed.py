"""The file that keeps the probed detector."""

import pytest
import rig
import torch

from mmbackbone_plugins import interpolate


def probing(schedule=None, **options):
    schedule = schedule or dict(type='ProbeThenFinetune', probe=2, **options)
    return dict(type='FreezingSchedulerHook', schedule=schedule, keep_probed=True)


def probed(folder):
    return torch.load(folder / 'probed.pth', weights_only=False)['state_dict']


def test_it_has_the_weights_when_the_target_begins_to_train(tmp_path):
    record = rig.train(tmp_path / 'by_epoch', hooks=[probing()], epochs=3)
    start = probed(tmp_path / 'by_epoch')
    assert not rig.equal(start, record.states[2])
    assert not rig.equal(start, record.states[0], 'backbone') and rig.equal(start, record.states[0])
    # It loads like a checkpoint, and so do the weights between.
    middle = interpolate(start, record.states[-1], 0.5)
    rig.build(rig.detector()).load_state_dict(middle)

    record = rig.train(tmp_path / 'by_iter', hooks=[probing(by_epoch=False)], iters=3)
    assert not rig.equal(probed(tmp_path / 'by_iter'), record.per_iter[1])


def test_of_an_average_it_has_the_average_and_a_resumed_run_leaves_it(tmp_path):
    options = dict(hooks=[probing(), dict(type='EMAHook', momentum=0.5)], epochs=3)
    record = rig.train(tmp_path, **options)
    kept = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['state_dict']
    start = probed(tmp_path)
    assert not rig.equal(start, kept) and rig.equal(start, record.states[2])
    # Resumed at that place it is written again, later it is not.
    for epoch in (2, 3):
        (tmp_path / 'probed.pth').unlink()
        last = str(tmp_path / f'epoch_{epoch}.pth')
        rig.train(tmp_path, load_from=last, resume=True, **dict(options, epochs=4))
        if epoch == 2:
            assert not rig.equal(probed(tmp_path), start)
    assert not (tmp_path / 'probed.pth').exists()


@pytest.mark.parametrize('kind', ('FullTraining', 'FrozenBackbone'))
def test_a_schedule_that_does_not_probe_is_refused(kind, tmp_path):
    with pytest.raises(ValueError, match='keep_probed=True: .* there is no end of probing'):
        rig.train(tmp_path, hooks=[probing(dict(type=kind))])
