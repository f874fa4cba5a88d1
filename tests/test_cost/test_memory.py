"""Peak memory of spans of work on a CPU, and bytes of gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmbackbone_plugins.cost.memory import PROCESS_SO_FAR, PeakMemory
from mmbackbone_plugins.cost.traffic import GradientTraffic, gradient_bytes

MB = 2**20


SPAN = """
import torch
from mmbackbone_plugins.cost.memory import PROCESS, PeakMemory
MB = 2**20
memory = PeakMemory(torch.device('cpu'))
memory.reset()
before = memory.read()
held = torch.ones(64 * MB, dtype=torch.uint8)
assert memory.read() - before > 60 * MB
del held  # large enough to go back to the system at once
assert memory.read() - before > 60 * MB
memory.reset()
if memory.kind == PROCESS:  # a container may forbid it
    assert memory.read() - before < 30 * MB
"""


@pytest.mark.run
@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux sets the high-water mark back')
def test_a_span_has_a_peak_of_its_own():
    """In a process of its own: one that has freed memory before does not ask for more."""
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[2]))
    subprocess.run([sys.executable, '-c', SPAN], env=env, check=True)


def test_without_resetting_it_is_the_peak_so_far():
    memory = PeakMemory(torch.device('cpu'), reset=False)
    assert memory.kind == PROCESS_SO_FAR
    before = memory.read()
    memory.reset()
    assert memory.read() >= before > 0


def test_gradients_of_what_trains():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False).half())
    assert gradient_bytes(model) == (4 * 3 + 3) * 4 + 3 * 2 * 2
    model[0].requires_grad_(False)
    assert gradient_bytes(model) == 3 * 2 * 2
    traffic = GradientTraffic()
    traffic.look(model)
    assert traffic.last_step() == 0  # no wrapper, nothing is sent
