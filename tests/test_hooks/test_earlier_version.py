"""What version 0.1.0 wrote is read by this one: a run of two epochs, kept after its first."""

import json
import shutil
from pathlib import Path

import pytest
import rig
import torch

from mmbackbone_plugins.cost import Ledger
from mmbackbone_plugins.distortion.importance_file import ImportanceFile
from mmbackbone_plugins.lab.visualization.logs import read_run
from mmbackbone_plugins.spectra import load_spectra

KEPT = Path(__file__).parent / 'kept_0_1_0'
HOOKS = [
    rig.dbf(2),
    dict(type='RGNHook', interval=1),
    dict(type='DriftHook', num_images=2),
    dict(type='DistortionRegularizerHook', importance='ewc', coeff=0.01, num_batches=2),
    dict(type='EigenspectrumHook', split='train', num_batches=1, layers=['backbone.layer1']),
    dict(type='TrainingCostHook'),
]


def model():
    """Small, for its checkpoint is a file of the repository."""
    cfg = rig.detector()
    cfg['backbone']['base_channels'] = 2
    cfg['neck'].update(in_channels=[2, 4, 8, 16], out_channels=4)
    cfg['bbox_head'].update(in_channels=4, feat_channels=4)
    return cfg


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.newer_torch
def test_its_run_goes_on_as_it_would_have(tmp_path):
    """``expected.json`` has what 0.1.0 itself made of the second epoch."""
    shutil.copytree(KEPT / 'log', tmp_path / '20261126_053215')
    for name in ('epoch_1.pth', 'cost.json'):
        shutil.copy(KEPT / name, tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    expected = json.loads((KEPT / 'expected.json').read_text())

    record = rig.train(tmp_path, hooks=HOOKS, epochs=2, model=model(), resume=True)

    norms = {name: float(v.double().norm()) for name, v in record.states[-1].items()}
    assert norms == pytest.approx(expected['weights'], rel=1e-4)
    before = torch.load(KEPT / 'epoch_1.pth', map_location='cpu', weights_only=False)
    after = torch.load(tmp_path / 'epoch_2.pth', map_location='cpu', weights_only=False)
    for key in ('mmbackbone_anchor', 'mmbackbone_importance', 'mmbackbone_cost'):
        assert key in before and key in after
    assert rig.equal(before['mmbackbone_anchor'], after['mmbackbone_anchor']) == []
    assert not list(tmp_path.glob('importance-*'))  # that of the checkpoint was taken
    totals = Ledger.read(tmp_path).totals()
    assert totals['steps'] == expected['steps']
    assert totals['training_flops'] == expected['training_flops']
    log = tmp_path / '20261126_053215'
    assert [line['epoch'] for line in lines(log / 'drift.jsonl')] == [1, 2]
    assert [line['epoch'] for line in lines(log / 'eigen.jsonl')] == [0, 1, 2]
    assert [line['iter'] for line in lines(log / 'rgn.jsonl')] == list(range(1, 9))


def test_its_files_are_read():
    (importance,) = KEPT.glob('importance-ewc-*.pth')
    assert ImportanceFile.load(importance).kind == 'ewc'
    assert Ledger.read(KEPT / 'cost.json').steps == 4
    spectra = load_spectra(KEPT / 'log' / 'eigenspectrum' / 'epoch_1.npz')
    assert list(spectra.layers) == ['backbone.layer1'] and spectra.info['epoch'] == 1
    run = read_run(KEPT)
    assert len(run.rgn) == 4 and [line['epoch'] for line in run.drift] == [1]
