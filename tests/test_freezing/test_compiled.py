"""Compiled frozen stages: the same features, no graph that is stale, and a run that goes on."""

import gc
import shutil
import weakref

import pytest
import torch
import torch._dynamo  # while torch.compile is its own: the import uses it
from torch import nn

from mmbackbone_plugins import FrozenForward

pytestmark = [
    pytest.mark.filterwarnings('ignore:stages of'),
    pytest.mark.newer_torch,  # for weights as constants
]
DRAWN = torch.Generator().manual_seed(1)
IMAGES = torch.rand(2, 3, 32, 32, generator=DRAWN)
FOLDED = "'backbone': 0, 1, 2, 3: 2 of 2 norms folded"


class Scaled(nn.Sequential):
    """Has a parameter itself."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return super().forward(x) * self.scale


def frozen():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)]
    parts += [nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3))]
    parts += [nn.BatchNorm2d(8)]
    for norm in (parts[1], parts[3]):
        norm.running_var.uniform_(0.5, 2)
    backbone = Scaled(*parts).requires_grad_(False)
    model = nn.ModuleDict(dict(backbone=backbone)).train()
    backbone.eval()
    return model


def compiled(model, how='folded', report=lambda text: None):
    return FrozenForward(model, ['backbone'], how, report, compiled=True)


def error(found, exact):
    return ((found - exact).norm() / exact.norm()).item()


class Graphs(list):
    """Stands in for torch.compile: notes the copies, and goes forward through them as they are."""

    def __call__(self, module, **options):
        def graph(*args):
            self.calls += 1
            assert not torch.is_grad_enabled()
            return module(*args)

        self.calls = 0
        self.append(weakref.ref(module))
        return graph


@pytest.fixture
def graphs(monkeypatch):
    found = Graphs()
    monkeypatch.setattr(torch, 'compile', found)
    return found


@pytest.mark.parametrize(('how', 'bound'), [('folded', 1e-5), ('bf16', 2e-2)])
def test_a_copy_outside_of_the_model_goes_forward_in_its_place(graphs, how, bound):
    model = frozen()
    backbone, state = model['backbone'], list(model.state_dict())
    exact, modules = backbone(IMAGES), list(model.modules())
    with compiled(model, how):
        found = backbone(IMAGES)
        assert list(model.modules()) == modules
        assert list(model.state_dict()) == state
    assert graphs.calls == len(graphs) == 1
    assert found.is_contiguous() and found.dtype == torch.float32 and not found.requires_grad
    assert 0 < error(found, exact) < bound
    assert not any(isinstance(m, nn.BatchNorm2d) for m in graphs[0]().modules())


def test_a_stale_graph_is_never_used_and_none_outlives_its_phase(graphs):
    model = frozen()
    backbone = model['backbone']
    with (other := compiled(model)):
        backbone(IMAGES)
        with torch.no_grad():
            backbone[0].weight.mul_(2)  # in the middle of a step: exact for now
        torch.testing.assert_close(backbone(IMAGES), backbone.forward.args[0](IMAGES))
        assert graphs.calls == 1
    for write in (
        lambda: None,
        lambda: model.load_state_dict({k: v * 1.5 for k, v in model.state_dict().items()}),
        lambda: setattr(backbone, 'scale', nn.Parameter(torch.zeros(1) + 2, requires_grad=False)),
        lambda: setattr(backbone[3], 'weight', nn.Parameter(torch.ones(8), requires_grad=False)),
        other.drop,
    ):
        write()
        with other:
            torch.testing.assert_close(backbone(IMAGES), backbone.forward.args[0](IMAGES))
        assert graphs.calls == 1
    assert len(graphs) == 6
    other.drop()
    gc.collect()
    assert not any(graph() for graph in graphs)


def test_what_watches_sees_everything_and_stages_that_train_stay_out(graphs):
    model = frozen()
    backbone, seen = model['backbone'], []
    with compiled(model):
        handle = backbone[2][1].register_forward_hook(lambda m, args, out: seen.append(out))
        torch.testing.assert_close(backbone(IMAGES), backbone.forward.args[0](IMAGES))
        assert graphs.calls == 0 and len(seen) == 2
        handle.remove()
        backbone(IMAGES)
        assert graphs.calls == 1
    backbone[3].requires_grad_(True)
    exact = backbone(IMAGES)
    with compiled(model, 'bf16'):
        found = backbone(IMAGES)
    assert graphs.calls == 1 and isinstance(graphs[-1]()[1], nn.ReLU)  # of the third stage alone
    found.sum().backward()
    assert error(found.detach(), exact.detach()) < 2e-2


@pytest.mark.parametrize('when', ('made', 'called'))
def test_where_it_cannot_be_compiled_the_run_goes_on_and_one_line_says_why(monkeypatch, when):
    def refuse(*args, **options):
        raise RuntimeError('Dynamo is not supported on Python 3.12+')

    monkeypatch.setattr(torch, 'compile', refuse if when == 'made' else lambda m, **o: refuse)
    model = frozen()
    exact = model['backbone'](IMAGES)
    with compiled(model, report=(said := []).append) as other:
        for _ in range(2):
            assert 0 < error(model['backbone'](IMAGES), exact) < 1e-5
            other.drop()
            other.remove()
            other.install()
    why = "'backbone': not compiled, for: RuntimeError: Dynamo is not supported on Python 3.12+"
    assert sorted(said) == [FOLDED, why]


@pytest.mark.slow  # a C++ compiler takes half a minute
@pytest.mark.skipif(not shutil.which('g++'), reason='needs a C++ compiler, g++')
def test_graphs_of_the_real_compiler_take_images_of_all_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    from torch._dynamo.utils import counters
    from torch._inductor import config

    model = frozen()
    backbone, said = model['backbone'], []
    counters.clear()
    with config.patch(compile_threads=1), compiled(model, report=said.append) as other:
        for size in ((2, 3, 32, 32), (2, 3, 40, 33), (2, 3, 25, 64), (2, 3, 48, 31)):
            images = torch.rand(size, generator=DRAWN)
            assert 0 < error(backbone(images), backbone.forward.args[0](images)) < 1e-5
        assert counters['stats']['unique_graphs'] == 2  # for one size, for all of them
        with torch.no_grad():
            backbone[0].weight.mul_(2)
        other.remove()
        other.install()
        assert error(backbone(IMAGES), backbone.forward.args[0](IMAGES)) < 1e-5
    assert said == [FOLDED]
