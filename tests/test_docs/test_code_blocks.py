"""What a reader copies out of a page: configs build, and other code runs."""

import ast
from pathlib import Path

import pages
import pytest
import rig
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import HOOKS, METRICS, MODELS, TRANSFORMS, VISBACKENDS, init_default_scope

from mmbackbone_plugins import SecondMoment
from mmbackbone_plugins.lab import launch
from mmbackbone_plugins.spectra import Spectra, save_spectra, summarize

LANGUAGES = ('python', 'bash', 'yaml', 'text', '')
BLOCKS = [block for page in pages.all_pages() for block in pages.blocks(page)]


def is_config(code: str) -> bool:
    """Whether a block is lines of a config: assignments, and nothing that only code has."""
    body = ast.parse(code).body
    return all(isinstance(node, ast.Assign) for node in body)


PYTHON = [block for block in BLOCKS if block.language == 'python']
CONFIGS = [block for block in PYTHON if is_config(block.code)]
CODE = {b.page: [c for c in PYTHON if c.page == b.page and c not in CONFIGS] for b in PYTHON}
CODE = {page: found for page, found in CODE.items() if found}


pytestmark = pytest.mark.usefixtures('registrations_undone')


def test_there_are_blocks_of_every_kind():
    assert len(CONFIGS) > 25 and len(CODE) >= 3
    for block in BLOCKS:
        assert block.language in LANGUAGES, f'{block.id}: {block.language!r}'
        if block.language == 'yaml':
            assert isinstance(yaml.safe_load(block.code), dict), block.id


@pytest.mark.parametrize('block', CONFIGS, ids=lambda block: block.id)
def test_config_lines_build(block, tmp_path):
    launch.register_modules()
    if 'mmseg::' in block.code:
        pytest.importorskip('mmseg', reason='MMSegmentation is not installed')
    code = block.code.replace('path/to/configs', (pages.ROOT / 'configs').as_posix())
    (tmp_path / 'config.py').write_text(code)
    cfg = Config.fromfile(tmp_path / 'config.py')
    # MMRotate's configs name what is MMDetection's by its scope.
    scope = 'mmrotate' if "'mmdet." in code else 'mmdet'
    init_default_scope(cfg.get('default_scope', scope))
    if 'vis_backends' in code:
        assert all(VISBACKENDS.get(backend.type) for backend in cfg.vis_backends)
        return
    assert cfg.custom_imports.imports == ['mmbackbone_plugins'] or '_base_' in code
    hooks = [HOOKS.build(dict(hook)) for hook in cfg.get('custom_hooks', [])]
    assert len(hooks) == len(cfg.get('custom_hooks', []))
    for name in ('val_evaluator', 'test_evaluator'):
        assert name not in cfg or METRICS.build(cfg[name])
    for step in cfg.get('test_pipeline', []):
        assert TRANSFORMS.build(step)
    if 'model' in cfg:
        net = cfg.model.backbone
        inner = net.get('backbone', net.get('module', net))  # of blocks, of a LoRAModel
        inner.init_cfg = None  # fetching it needs a network
        if 'type' in cfg.model:
            assert isinstance(MODELS.build(cfg.model).backbone, torch.nn.Module)
        else:
            assert isinstance(MODELS.build(net), torch.nn.Module)


@pytest.mark.parametrize('page', CODE, ids=pages.name)
def test_code_runs(page, tmp_path, monkeypatch):
    """The blocks of a page in their order, as one program."""
    monkeypatch.chdir(tmp_path)
    names = NEEDED.get(page.stem, dict)()
    for block in CODE[page]:
        exec(compile(block.code, block.id, 'exec'), names)


def _for_eigenspectrum() -> dict:
    """A run's file, a detector and its batches."""
    moment = SecondMoment(8)
    moment.update(torch.rand(2, 8, 4, 4))
    path = Path('work_dirs/name/20261121_120000/eigenspectrum/epoch_12.npz')
    path.parent.mkdir(parents=True)
    save_spectra(path, Spectra({'backbone.stage4': summarize(moment)}, dict(epoch=12)))
    model = rig.build(rig.detector())
    loader = torch.utils.data.DataLoader(rig.DrawnScenes(2), 2, collate_fn=pseudo_collate)
    return dict(model=model, batches=[model.data_preprocessor(batch) for batch in loader])


NEEDED = dict(eigenspectrum=_for_eigenspectrum)
