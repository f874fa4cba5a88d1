"""A run killed with SIGKILL and resumed ends with the same bits as one that was left alone."""

import pytest
import rig
import torch

# Phases of rho 3 over 5 epochs of 4 iterations: epochs 0 and 3 train, 1, 2 and 4 are frozen.
CASES = {
    'frozen-epoch-adamw-reset': dict(kill_at=9, optimizer=rig.ADAMW, reset='all'),
    'training-epoch-ema': dict(kill_at=14, hooks=[dict(type='EMAHook', momentum=0.2)]),
    'first-iteration-after-a-boundary-shuffled-clip-accumulate': dict(
        kill_at=12, shuffle=True, wrapper=dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0))
    ),
    'iteration-loop': dict(kill_at=7, iters=12),
}


def tensors(node, path=''):
    if isinstance(node, torch.Tensor):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from tensors(value, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for key, value in enumerate(node):
            yield from tensors(value, f'{path}.{key}')


def last_checkpoint(folder):
    path = (folder / 'last_checkpoint').read_text().strip()
    return torch.load(path, weights_only=False, map_location='cpu')


@pytest.mark.parametrize('name', CASES)
def test_killed_and_resumed_equals_uninterrupted(name, tmp_path):
    case = dict(CASES[name])
    kill_at = case.pop('kill_at')
    by_epoch = 'iters' not in case
    hook = rig.dbf(3, by_epoch=by_epoch, reset_optimizer_state=case.pop('reset', 'none'))
    options = {'epochs': 5, **case, 'hooks': [hook, *case.get('hooks', [])]}
    whole = rig.train(tmp_path / 'whole', **options)

    part = str(tmp_path / 'part')
    rig.run(returncode=-9, work_dir=part, kill_at=kill_at, **options)
    resumed = rig.run(work_dir=part, resume=True, **options)[0]

    assert not rig.equal(resumed['states'][-1], whole.states[-1])
    done = kill_at if not by_epoch else kill_at // 4 * 4
    assert resumed['losses'] == whole.losses[done:]
    assert resumed['trains'] == whole.trains[done:]
    ours, theirs = last_checkpoint(tmp_path / 'part'), last_checkpoint(tmp_path / 'whole')
    for key in ('state_dict', 'optimizer', 'ema_state_dict'):
        assert (key in ours) == (key in theirs)
        a, b = dict(tensors(ours.get(key))), dict(tensors(theirs.get(key)))
        assert a.keys() == b.keys() and (a or key == 'ema_state_dict')
        assert all(torch.equal(a[k], b[k]) for k in a), key
