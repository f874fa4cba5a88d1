"""The guard of the benchmarks' ratios, and who is said to hold memory at a step's peak."""

import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'
sys.path.insert(0, str(FOLDER))
import guard  # noqa: E402
from common import machine  # noqa: E402
from owners import owners_at_peak  # noqa: E402

from mmbackbone_plugins.lab.fitting import peak_bytes  # noqa: E402


def test_rows_are_keys_or_quotients():
    figures = {'a': {'b, c': 3.0, 'zero': 0, 'x': float('nan')}, 'd': 2}
    assert guard.lookup(figures, 'a.b, c') == 3
    assert guard.lookup(figures, 'a.b, c / d') == 1.5
    for row in ('a', 'a.zero', 'a.x', 'a.y', 'd.e', 'a.b, c / a.zero'):
        assert guard.lookup(figures, row) is None, row


@pytest.mark.parametrize(
    'found, said',
    [
        (2.1, ''),  # 5 % above 2
        (1.9, ''),
        (2.59, 'grown'),
        (2.61, 'FAILS: grown by more than three tolerances'),
        (1.7, 'shrunk; `--update` would keep it'),
        (0.2, 'shrunk; `--update` would keep it'),
        (None, 'FAILS: no such figure'),
    ],
)
def test_three_tolerances_fail(found, said):
    assert guard.verdict(found, ratio=2.0, tolerance=0.1) == said


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """The guard over one benchmark whose figures are given; they and what it ran are returned."""
    row = dict(ratio=2.0, tolerance=0.1)
    of = {key: machine('cpu')[key] for key in ('machine', 'torch')}
    rows = dict(options='--size 64', rows={'time': row})
    committed = dict(of, date='2026-11-26', benchmarks=dict(one=rows))
    path = tmp_path / 'ratios.json'
    path.write_text(json.dumps(committed))
    monkeypatch.setattr(guard, 'RATIOS', path)

    def call(*given, argv=()):
        left = list(given)
        monkeypatch.setattr(guard, 'run', lambda name, options: dict(time=left.pop(0)))
        monkeypatch.setattr(sys, 'argv', ['guard.py', *argv])
        status = guard.main()
        assert not left, 'not all runs were wanted'
        return status

    call.path = path
    return call


@pytest.mark.parametrize(
    'given, status, shown',
    [
        ((2.1,), 0, '2.1 | 10% |  |'),
        ((2.5,), 0, '2.5 | 10% | grown'),
        ((2.9, 2.5), 0, '2.5 | 10% | grown'),  # noise: once more, and it is gone
        ((2.9, 2.8, 2.7), 1, '2.7 | 10% | FAILS'),
    ],
)
def test_noise_passes_and_a_step_fails(guarded, capsys, given, status, shown):
    assert guarded(*given) == status
    assert shown in capsys.readouterr().out


def test_a_busy_machine_leaves_benchmarks_out(guarded, capsys, monkeypatch):
    monkeypatch.setattr(guard, 'LIMIT', 0)
    assert guarded() == 0
    assert 'one --size 64: left out after 0 s' in capsys.readouterr().out


def test_nothing_fails_on_another_machine(guarded, capsys):
    committed = json.loads(guarded.path.read_text())
    guarded.path.write_text(json.dumps(dict(committed, torch='1.0')))
    assert guarded(9.0, 9.0, 9.0) == 0
    assert "the ratios are of {'machine'" in capsys.readouterr().out


def test_an_update_takes_the_median_and_widens_the_tolerance(guarded):
    assert guarded(4.0, 5.0, 4.1, argv=['--update', '--runs', '3']) == 0
    found = json.loads(guarded.path.read_text())['benchmarks']['one']['rows']['time']
    assert found == dict(ratio=4.1, tolerance=0.25)  # (5 - 4) / 4.1 is 0.244
    assert guarded(4.0, argv=['--update']) == 0
    found = json.loads(guarded.path.read_text())['benchmarks']['one']['rows']['time']
    assert found == dict(ratio=4.0, tolerance=0.25)


def test_the_committed_ratios_are_of_all_benchmarks():
    committed = json.loads(guard.RATIOS.read_text())
    others = {'common', 'guard', 'owners'}
    assert set(committed['benchmarks']) == {p.stem for p in FOLDER.glob('*.py')} - others
    for name, benchmark in committed['benchmarks'].items():
        assert benchmark['rows'], name
        for row, of in benchmark['rows'].items():
            assert of['ratio'] > 0 and 0.01 <= of['tolerance'] <= 0.5, (name, row)


class Detector(torch.nn.Module):
    """A backbone, a neck and a head of linear layers."""

    class Head(torch.nn.Linear):
        def loss(self, x):
            return self(x).square().sum()

    def __init__(self, width: int, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone = torch.nn.Linear(8, width)
        self.neck = torch.nn.Linear(width, 8)
        self.bbox_head = self.Head(8, width)
        self.backbone.forward_one = self.backbone.forward
        self.backbone.forward = lambda x: (self.backbone.forward_one(x),)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0)

    def step(self) -> None:
        with torch.set_grad_enabled(not self.frozen):
            outs = self.backbone(self.inputs)
        self.bbox_head.loss(self.neck(outs[0])).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.mark.parametrize('batch, width, frozen', [(4096, 256, True), (2, 65536, False)])
def test_memory_at_the_peak_has_its_owner(batch, width, frozen):
    model = Detector(width, frozen)
    model.inputs = torch.zeros(batch, 8)
    model.step()
    found = owners_at_peak(model, model.optimizer, model.step)
    assert sum(found.values()) == pytest.approx(peak_bytes(model.step, 'cpu') / 1e6, abs=0.5)
    megabyte = batch * width * 4 / 1e6
    if frozen:  # large maps: the neck's layer keeps its input for the gradient of its weight
        assert found['outputs of the backbone'] == pytest.approx(megabyte, abs=0.1)
        assert 'backbone' not in found
    else:  # large weights
        trained = sum(p.nbytes for p in model.parameters()) / 1e6
        assert found['gradients of weights'] == pytest.approx(trained, rel=0.05)
