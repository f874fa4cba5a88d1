"""The paper's analysis: mean over batches, and no trace of it anywhere."""

import json
import random

import numpy as np
import pytest
import rig
import torch
from mmengine.runner import Runner
from torch import nn

from mmbackbone_plugins.distortion.passes import (
    allow_single_values,
    average_rgn,
    gradient_passes,
    usual_count,
)
from mmbackbone_plugins.utils.untouched import untouched

CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins', 'rig'], allow_failed_imports=False)
default_scope = 'mmdet'
model = {model!r}
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='DrawnScenes', length={length}))
"""


@pytest.fixture(scope='module')
def tool():
    return rig.load_tool('analysis_tools/measure_rgn')


def config(folder, name='tiny', length=8, model=None):
    path = folder / f'{name}.py'
    path.write_text(CONFIG.format(model=model or rig.detector(), length=length))
    return str(path)


def batches(count=3):
    scenes = rig.DrawnScenes(2 * count)
    for i in range(count):
        items = [scenes[2 * i], scenes[2 * i + 1]]
        yield {k: [item[k] for item in items] for k in items[0]}


def swin():
    torch.manual_seed(0)
    return rig.build(rig.detector(backbone=rig.swin()))


def resnet(**options):
    torch.manual_seed(0)
    return rig.build(rig.detector(backbone=rig.resnet(**options)))


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_the_mean_over_batches_against_a_plain_loop(granularity):
    model = resnet(frozen_stages=1)
    table = average_rgn(model, batches(), granularity=granularity)
    other = resnet(frozen_stages=1)
    other.train()
    total = {}
    for batch in batches():
        other.zero_grad()
        loss, _ = other.parse_losses(other(**other.data_preprocessor(batch, True), mode='loss'))
        loss.backward()
        for name, p in other.named_parameters():
            if not name.startswith('backbone.') or p.grad is None:
                continue
            g, w = p.grad.double(), p.detach().double()
            if granularity == 'tensor':
                value = g.norm() / (w.norm() + 1e-8)
            else:
                g, w = abs(g), abs(w)
                if g.dim() == 4:
                    g, w = g.sum((2, 3)), w.sum((2, 3))
                value = (g / (w + 1e-8)).mean()
            total[name] = total.get(name, 0) + value.item() / 3
    assert table.tensors == pytest.approx(total, rel=1e-5)
    assert table.frozen == ('stem', 'stage1')
    assert table.network.mean == pytest.approx(sum(total.values()) / len(total), rel=1e-5)


@pytest.mark.parametrize('make', [resnet, swin])
def test_no_trace_is_left(make):
    model = make()
    model.eval()
    model.neck.train()
    next(model.parameters()).grad = mark = torch.ones_like(next(model.parameters()))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    numbers = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    loader = torch.utils.data.DataLoader(list(batches()), batch_size=None, shuffle=True)
    average_rgn(model, loader)
    assert not rig.equal(before, dict(model.state_dict()))
    assert modes == [m.training for m in model.modules()]
    assert needs == [p.requires_grad for p in model.parameters()]
    assert [p.grad for p in model.parameters()][1:] == [None] * (len(needs) - 1)
    assert next(model.parameters()).grad is mark
    assert numbers[0] == random.getstate() and torch.equal(numbers[1], torch.get_rng_state())
    assert (numbers[2] == np.random.get_state()[1]).all()


def test_a_run_after_it_is_the_run_without_it(tmp_path):
    """Weights, buffers, random numbers and the order of images: all of the run is as it was."""
    plain = rig.train(tmp_path / 'plain', epochs=1, shuffle=True)
    built = rig.runner(tmp_path / 'measured', epochs=1, shuffle=True)
    loader = Runner.build_dataloader(dict(built._train_dataloader), seed=0)
    average_rgn(built.model, loader, count=2)
    built.train()
    assert rig.recorder(built).losses == plain.losses
    assert not rig.equal(rig.recorder(built).states[-1], plain.states[-1])


def test_stopping_early_leaves_no_trace_either():
    model = resnet()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    passes = gradient_passes(model, batches())
    assert next(passes) == 1
    assert model.backbone.conv1.weight.grad is not None
    passes.close()
    assert not rig.equal(before, dict(model.state_dict()))
    assert model.backbone.conv1.weight.grad is None


def test_no_batch_is_fetched_beyond_the_count():
    fetched = []
    source = (fetched.append(i) or batch for i, batch in enumerate(batches()))
    average_rgn(resnet(), source, count=2)
    assert fetched == [0, 1]


def test_bad_input():
    with pytest.raises(ValueError, match='the training loader is empty'):
        average_rgn(resnet(), [])
    with pytest.raises(ValueError, match='granularity must be one of'):
        average_rgn(resnet(), batches(), granularity='layer')
    model = resnet()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match='all of it is frozen'):
        average_rgn(model, batches())


def test_the_papers_number_of_batches():
    assert [usual_count(n, 2) for n in (1, 40, 199, 10**6)] == [1, 20, 99, 100]


def test_the_tool_side_by_side(tool, tmp_path, capsys):
    """Two configs and a checkpoint: tables, JSON and a picture."""
    first = config(tmp_path)
    other = config(tmp_path, 'other', model=rig.detector(backbone=rig.swin()))
    model = resnet()
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), weights)
    out, plot = tmp_path / 'rgn.json', tmp_path / 'rgn.png'
    arguments = [first, str(weights), '--run', other, '--out', str(out), '--plot', str(plot)]
    assert tool.main([*arguments, '--device', 'cpu']) == 0
    text = capsys.readouterr().out
    assert 'tiny @ weights: 4 batches of 2 on cpu' in text and '(2) other' in text
    figures = json.loads(out.read_text())
    assert [run['label'] for run in figures['runs']] == ['tiny @ weights', 'other']
    assert figures['runs'][0]['table']['stages']['stage4']['mean'] > 0
    assert plot.stat().st_size > 10_000
    assert tool.main([*arguments, '--device', 'cpu']) == 0
    assert json.loads(out.read_text()) == figures  # seeded


def test_the_tool_on_bad_input(tool, tmp_path, capsys):
    def error(*arguments):
        assert tool.main([*arguments, '--device', 'cpu']) == 2
        return capsys.readouterr().err

    path = config(tmp_path)
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=resnet().backbone.state_dict()), weights)
    text = error(path, str(weights))
    assert 'does not fit the config' in text and 'backbone.conv1.weight (missing)' in text
    assert 'more. It must be of the whole detector' in text
    assert "checkpoint 'nowhere.pth' does not exist" in error(path, 'nowhere.pth')
    assert 'does not exist' in error('nowhere.py')
    assert 'the training loader' in error(config(tmp_path, 'empty', length=0))
    assert "target 'spine' does not exist" in error(path, '--target', 'spine')
    with pytest.raises(SystemExit):
        tool.main([path, '--batches', '0'])


def test_an_image_whose_last_map_has_one_value():
    """Torch refuses it in training; a group norm goes on as in a batch, a batch norm as in eval."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(4, 4))
    )
    net[1].running_mean += 0.3
    nn.init.normal_(net[3].bias)
    image = torch.randn(1, 3, 1, 1)
    state = {n: t.clone() for n, t in net.state_dict().items()}
    with pytest.raises(ValueError, match='more than 1 value'):
        net(image)
    net[1].eval()
    wanted = net(image.expand(2, 3, 1, 1))[:1]
    net.train()
    net.load_state_dict(state)
    with untouched(net):
        allow_single_values(net)
        torch.testing.assert_close(net(image), wanted)
        larger = torch.randn(3, 3, 4, 4)
        found = net(larger)
    assert not rig.equal(state, net.state_dict()) and all(m.training for m in net.modules())
    torch.testing.assert_close(found, net(larger))
