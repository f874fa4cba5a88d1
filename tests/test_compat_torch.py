"""What differs between versions of torch, on the torch that is here; OpenMMLab's family has 2.0."""

import functools
import os
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import mmbackbone_plugins
from mmbackbone_plugins import compat
from mmbackbone_plugins.freezing import ddp as wrapping

OLD = tuple(int(n) for n in torch.__version__.split('.')[:2]) < (2, 1)


def alone(test):
    """Runs a test in a process that ends without destructors.

    Gloo's group in torch 2.0 waits in its destructor for a thread of its own, which may wait for
    the interpreter that the destructor holds.
    """

    @functools.wraps(test)
    def in_a_child():
        child = os.fork()
        if child == 0:
            try:
                test()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    return in_a_child


def wrap():
    """A wrapper in a group of one process, without a port."""
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    return DistributedDataParallel(nn.Linear(3, 2, bias=False))


def _doubled(state, bucket):
    future = torch.futures.Future()
    future.set_result(2 * bucket.buffer())
    return future


def _gradient(ddp):
    ddp.module.zero_grad()
    ddp(torch.ones(1, 3)).sum().backward()
    return ddp.module.weight.grad.unique().tolist()


def test_the_flop_counter_is_there_since_torch_2_1():
    assert (compat.flop_counter() is None) == OLD


@alone
def test_no_broadcast_where_torch_lets_us():
    wrapper = wrap()
    assert (compat.ddp_options(wrapper).get('init_sync') is None) == OLD


@alone
def test_a_communication_hook_is_kept_or_named():
    wrapper = wrap()
    assert compat.ddp_comm_hooks(wrapper) == []
    wrapper.register_comm_hook('state', _doubled)
    if OLD:
        with pytest.raises(RuntimeError, match="hook '_doubled'.*torch 2.1 or newer"):
            wrapping.rebuild(wrapper)
        return
    assert compat.ddp_comm_hooks(wrapper) == [(_doubled, 'state')]
    assert _gradient(wrapping.rebuild(wrapper)) == [2]


@alone
def test_a_released_wrapper_reacts_to_no_gradient():
    """Not even to those of a step that it has seen the beginning of."""
    wrapper = wrap()
    wrapper.register_comm_hook(None, _doubled)
    assert _gradient(wrapper) == [2]
    wrapper.module.zero_grad()
    loss = wrapper(torch.ones(1, 3)).sum()
    new = compat.ddp_release(wrapper) if OLD else wrapping.rebuild(wrapper)
    loss.backward()
    assert wrapper.module.weight.grad.unique().tolist() == [1]
    assert OLD or _gradient(new) == [2]


def test_no_other_file_knows_of_versions():
    package = Path(mmbackbone_plugins.__file__).parent
    words = ('torch.utils.flop_counter', "'_comm_hooks'", 'onedl-mm', 'version_info')
    knows = {
        f'{path.relative_to(package)}: {word}'
        for path in package.rglob('*.py')
        if '.mim' not in path.parts and path.name not in ('compat.py', '__main__.py')
        for word in words
        if word in path.read_text()
    }
    assert knows == set()
