"""A finished run trained once more, by the tool, with processes that pretend to train."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from fabricated import make_result

from mmbackbone_plugins.lab import benchmarking
from mmbackbone_plugins.lab.benchmarking.folder import CONFIG, TRAIN, RunFolder

pytest.importorskip('matplotlib')
ROOT = Path(__file__).resolve().parents[3]
PLAN = """
work_dir: work
datasets: {d: {tests: {clear: {split: val}}}}
detectors: [m]
methods:
  full: a.py
  dbf: {config: a.py, options: {value: 2}}
"""
RUN = 'd/m/full/seed0'
WEIGHTS = {'a.weight': torch.tensor([1.0, float('nan'), 0.0]), 'a.bias': torch.ones(2)}
# What the real process leaves behind, without the training.
FAKE = """
import shutil, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / 'train').mkdir()
shutil.copy('trained.pth', folder / 'train')
shutil.copy('result.json', folder)
"""


@pytest.fixture
def tool(tmp_path, monkeypatch, capfd):
    """Calls the tool; what it printed, and the rows ``Repeated`` of the report."""
    monkeypatch.chdir(tmp_path)
    Path('a.py').write_text('value = 1\nval_dataloader = dict(dataset=dict())\n')
    Path('p.yml').write_text(PLAN)
    Path('fake.py').write_text(FAKE)
    command = [sys.executable, 'fake.py']
    monkeypatch.setattr(benchmarking.Local, 'command', lambda _, folder: [*command, str(folder)])
    main = runpy.run_path(str(ROOT / 'tools/benchmark.py'))['main']
    trained(WEIGHTS)

    def call(*words, status=0):
        assert main(['p.yml', *words]) == status
        said = capfd.readouterr()
        report = Path('work/report/report.md')
        text = report.read_text() if report.is_file() else ''
        rows = [line for line in text.splitlines() if line.startswith('| Repeated')]
        assert ''.join(rows).count('Repeated') == text.count('Repeated')
        return said.out + said.err, rows

    return call


def trained(weights, mAP=0.5, threads=1):
    """What the next training comes to."""
    torch.save(dict(state_dict=weights), 'trained.pth')
    result = make_result('full', 0, 'd', 'm', ('clear',), checkpoint='train/trained.pth')
    result.scores['clear']['mAP'] = mAP
    result.machine['threads'] = threads
    result.save('.')


def files(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob('*') if p.is_file()}


def test_the_same_bits(tool):
    assert tool('--only', 'd/m/full')[1] == []
    first = files('work/runs')
    said, rows = tool('--repeat', RUN)
    assert f'started: {RUN}' in said
    (row,) = rows
    assert row == (
        f'| Repeated | {RUN} gave the same bits (0 of 2 tensors differ, no score), on AMD EPYC, '
        'torch 2.11.0 |'
    )
    assert 'gave the same bits (0 of 2' in Path('work/report/report.html').read_text()
    (kept,) = json.loads(Path('work/report/summary.json').read_text())['repeats']
    assert kept['run'] == RUN and kept['tensors'] == 2 and kept['same_scores']
    assert files('work/runs') == first  # nothing of the first is touched
    configs = [Path('work', kind, RUN, CONFIG).read_text() for kind in ('runs', 'repeats')]
    assert configs[0].replace('work/runs', 'work/repeats') == configs[1]
    # It is not done again, nor is what was compared read again.
    Path('work/runs', RUN, TRAIN, 'trained.pth').write_bytes(b'')
    assert tool('--report')[1] == [row]
    Path('p.yml').write_text(PLAN.replace('full: a.py', 'full: {config: a.py, options: {x: 1}}'))
    assert 'holds a run with another config' in tool('--repeat', RUN, status=2)[0]


@pytest.mark.parametrize(
    'weights, mAP, threads, said',
    [
        ({'a.bias': torch.tensor([1.0, 1.0 + 2**-23])}, 0.5, 1, '1 of 2 tensors differ, no score'),
        ({'a.bias': torch.ones(2).double()}, 0.5, 1, '1 of 2 tensors differ, no score'),
        ({'a.weight': torch.tensor([1.0, float('nan'), -0.0])}, 0.5, 1, '1 of 2 tensors'),
        ({'b': torch.ones(1)}, 0.507, 1, '1 of 3 tensors differ, mAP by up to 0.7 points'),
        ({'a.bias': torch.zeros(2)}, 0.5, 4, 'torch 2.11.0; the first run had threads 1 |'),
    ],
)
def test_other_bits(tool, weights, mAP, threads, said):
    tool('--only', RUN)
    trained({**WEIGHTS, **weights}, mAP, threads)
    _, (row,) = tool('--repeat', RUN)
    assert f'{RUN} gave other bits (1 of' in row and said in row
    # A second training that is made anew is compared anew.
    folder = Path('work/repeats', RUN)
    folder.rename('away')
    trained(WEIGHTS)
    text = Path('result.json').read_text()
    Path('result.json').write_text(text.replace('"finished": "2026', '"finished": "2027'))
    assert 'gave the same bits' in tool('--repeat', RUN)[1][0]


def test_what_cannot_be_repeated(tool):
    assert f'--repeat: {RUN} is not finished' in tool('--repeat', RUN, status=2)[0]
    assert "--repeat 'ful' matches no run" in tool('--repeat', 'ful', status=2)[0]
    tool('--only', RUN)
    Path('work/runs', RUN, TRAIN, 'trained.pth').unlink()
    assert "trained.pth' does not exist" in tool('--repeat', RUN, status=2)[0]
    assert not Path('work/repeats').exists()


def test_what_has_no_training_of_its_own():
    run = benchmarking.Run('d', 'm', 'wise', 0, 'a.py', {}, (), (), {}, dict(training='dp-ft'))
    plan = benchmarking.Plan(Path('p.yml'), Path('work'), (), (run,), {})
    with pytest.raises(ValueError, match="wise/seed0 uses the training of 'dp-ft': repeat that"):
        benchmarking.repeats(plan, ['d'])
    assert RunFolder.of(plan, run, 'repeats').command.endswith('--repeat d/m/wise/seed0')
