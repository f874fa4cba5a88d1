"""The tool over a small detector: numbers, files, pictures, and what it refuses."""

import numpy as np
import pytest
import rig
import torch
from mmengine.dataset import pseudo_collate

from mmbackbone_plugins.lab.visualization import plot_spectra, read_dynamics
from mmbackbone_plugins.spectra import collect_moments, load_spectra, summarize
from mmbackbone_plugins.utils.sampling import SeededBatches

CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins', 'rig'], allow_failed_imports=False)
default_scope = 'mmdet'
model = {model!r}
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='DrawnScenes', length=8))
"""
STAGES = [f'backbone.stage{i}' for i in range(1, 5)]


@pytest.fixture(scope='module')
def tool():
    return rig.load_tool('analysis_tools/analyze_eigenspectrum')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A config, and a run of it with the hook."""
    folder = tmp_path_factory.mktemp('run')
    (folder / 'tiny.py').write_text(CONFIG.format(model=rig.detector()))
    hook = dict(type='EigenspectrumHook', num_batches=2, split='train')
    torch.set_num_threads(1)
    rig.train(folder / 'work', hooks=[hook], epochs=2)
    return folder


def test_checkpoints_side_by_side(tool, run, capsys):
    pytest.importorskip('matplotlib')
    out = run / 'out'
    checkpoints = [str(run / 'work' / f'epoch_{i}.pth') for i in (1, 2)]
    arguments = [str(run / 'tiny.py'), '--initial', *checkpoints, '--num-images', '5']
    assert tool.main([*arguments, '--dynamics', str(run / 'work'), '--out', str(out)]) == 0
    printed = capsys.readouterr()
    assert '(1) initial\n(2) epoch_1\n(3) epoch_2\n' in printed.out
    assert '5/5' in printed.err and 'ETA' in printed.err  # the bar
    names = ['dimension.png', 'dynamics.png', 'epoch_1.npz', 'epoch_2.npz', 'initial.npz']
    assert sorted(p.name for p in out.iterdir()) == [*names, 'spectra.png']
    assert all(p.stat().st_size > 20_000 for p in out.glob('*.png'))
    model = rig.build(rig.detector())
    for name, checkpoint in zip(('epoch_1', 'epoch_2'), checkpoints):
        model.load_state_dict(torch.load(checkpoint, weights_only=False)['state_dict'])
        loader = torch.utils.data.DataLoader(rig.DrawnScenes(8), 2, collate_fn=pseudo_collate)
        batches = SeededBatches(loader, model, num_images=5)
        wanted = collect_moments(model, batches, ['backbone', 'neck'])
        held = load_spectra(out / f'{name}.npz')
        assert held.info['images'] == 5 and held.info['checkpoint'] == checkpoint
        assert list(held.layers) == list(wanted)
        for layer, moment in wanted.items():
            expected = summarize(moment)
            np.testing.assert_allclose(
                held.layers[layer].eigenvalues, expected.eigenvalues, atol=1e-9, rtol=1e-5
            )
            assert held.layers[layer].summary.dim == expected.summary.dim
    row = next(line for line in printed.out.splitlines() if line.startswith('backbone.stage4'))
    assert '*' in row  # 5 images of 2 x 2 positions cannot fill 128 channels


def test_options_change_the_numbers(tool, run):
    numbers = {}
    base = [str(run / 'tiny.py'), str(run / 'work' / 'epoch_2.pth'), '--num-images', '4']
    for name, options in {
        'plain': [],
        'centred': ['--center'],
        'relative': ['--relative', '--threshold', '0.1'],
        'foreground': ['--foreground', 'foreground'],
        'stride': ['--stride', '2'],
        'convolutions': ['--layers', 'neck', '--convolutions'],
    }.items():
        pytest.importorskip('matplotlib')
        assert tool.main([*base, *options, '--out', str(run / name)]) == 0
        numbers[name] = load_spectra(run / name / 'epoch_2.npz')
    plain = numbers['plain'].layers['backbone.stage1'].summary
    assert numbers['centred'].layers['backbone.stage1'].summary.trace < plain.trace
    assert numbers['relative'].layers['backbone.stage1'].summary.dim < plain.dim
    assert numbers['foreground'].layers['backbone.stage1'].summary.samples < plain.samples
    assert numbers['stride'].layers['backbone.stage1'].summary.samples == plain.samples / 4
    assert 'backbone.layer1.0.bn1' in numbers['convolutions'].layers
    assert 'backbone.stage1' not in numbers['convolutions'].layers


def test_the_dynamics_of_a_run_are_read_in_order(run):
    found = read_dynamics(run / 'work')
    assert [s.info['epoch'] for s in found] == [0, 1, 2]
    assert all(set(STAGES) < set(s.layers) for s in found)


def test_other_configs_beside_it(tool, run, capsys):
    (run / 'other.py').write_text(CONFIG.format(model=rig.detector('faster-rcnn')))
    other = str(run / 'other.py')
    assert tool.main([str(run / 'tiny.py'), '--run', other, '--num-images', '2']) == 0
    printed = capsys.readouterr().out
    assert '(1) tiny @ initial\n(2) other @ initial\n' in printed


def test_labels_tell_runs_apart(tool):
    labels = tool.labels_of([('a.py', 'x/epoch_1.pth'), ('a.py', 'y/epoch_1.pth'), ('a.py', None)])
    assert labels == ['x/epoch_1', 'y/epoch_1', 'initial']
    assert tool.labels_of([('a.py', 'x/e.pth')] * 2) == ['x/e (1)', 'x/e (2)']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], "config 'none.py' does not exist"),
        (['{run}/tiny.py', 'none.pth'], "checkpoint 'none.pth' does not exist"),
        (['{run}/tiny.py', '--layers', 'backbone.layer9'], 'nearest: backbone.layer'),
        (['{run}/tiny.py', '--split', 'test'], 'has no test_dataloader'),
        (['{run}/tiny.py', '--threshold', '-1'], 'threshold must be positive and finite'),
        (['--dynamics', '{run}', '--out', '{run}/o'], 'eigen.jsonl is missing'),
    ],
)
def test_bad_input_is_one_line(tool, run, arguments, message, capsys):
    assert tool.main([a.format(run=run) for a in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_what_cannot_be_drawn(run, tmp_path):
    pytest.importorskip('matplotlib')
    first = read_dynamics(run / 'work')[0]
    with pytest.raises(ValueError, match="no spectrum of 'stem'; there are: backbone.stage1"):
        plot_spectra(tmp_path / 'a.png', dict(a=first), layers=['stem'])


@pytest.mark.parametrize('arguments', [[], ['--dynamics', 'x'], ['a.py', '--stride', '0']])
def test_usage(tool, arguments):
    with pytest.raises(SystemExit):
        tool.parse_args(arguments)
