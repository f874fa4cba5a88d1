"""metafile.yml, model-index.yml and the READMEs agree with the files on disk."""

import re

import pytest
import yaml
import zoo

from mmbackbone_plugins import build_schedule

folders = pytest.mark.parametrize('folder', zoo.FOLDERS)


def metafile(folder):
    return yaml.safe_load((zoo.CONFIGS / folder / 'metafile.yml').read_text())


def linked(readme):
    """Targets of a README's links to files, as paths."""
    found = re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', readme.read_text())
    return [(readme.parent / t).resolve() for t in found if '://' not in t]


def test_index_lists_every_metafile():
    index = yaml.safe_load((zoo.ROOT / 'model-index.yml').read_text())
    on_disk = {p.relative_to(zoo.ROOT).as_posix() for p in zoo.CONFIGS.glob('*/metafile.yml')}
    assert len(index['Import']) == len(set(index['Import']))
    assert set(index['Import']) == on_disk
    assert {f'configs/{f}/metafile.yml' for f in zoo.FOLDERS} <= on_disk


@folders
def test_metafile_lists_every_config_once(folder):
    listed = [m['Config'] for m in metafile(folder)['Models']]
    on_disk = [p.relative_to(zoo.ROOT).as_posix() for p in (zoo.CONFIGS / folder).glob('*.py')]
    assert sorted(listed) == sorted(on_disk)


@folders
def test_metafile_is_true(folder):
    content = metafile(folder)
    (collection,) = content['Collections']
    assert (zoo.ROOT / collection['README']).is_file()
    for model in content['Models']:
        name = model['Name']
        assert model['Config'] == f'configs/{folder}/{name}.py'
        assert model['In Collection'] == collection['Name']
        # No run behind it, no number and no weights.
        assert not {'Results', 'Weights'} & set(model)
        meta = model['Metadata']
        if name in zoo.MMDETECTIONS:
            assert (meta['Training Data'], meta['Boxes'], meta['Epochs']) == (
                'COCO',
                'horizontal',
                12,
            )
            continue
        cfg = zoo.load(name)
        assert meta['Training Data'] == DATA[zoo.data(cfg)]
        assert meta['Boxes'] == ('horizontal' if zoo.horizontal(cfg) else 'oriented')
        unit = 'Epochs' if 'max_epochs' in cfg.train_cfg else 'Iterations'
        assert meta[unit] == _length(cfg)
        assert meta.get(f'{unit} in which the backbone trains') == _trained(cfg)
        assert BACKBONES[zoo.backbone(cfg)] in meta['Architecture']


DATA = {
    'dota': 'DOTA-v1.0',
    'dior': 'DIOR-R',
    'coco': 'COCO 2017',
    'lvis': 'LVIS v1',
    'voc-shift': 'PASCAL VOC 2007 + 2012',
    'cityscapes-foggy': 'Cityscapes',
}
BACKBONES = {
    'r50': 'ResNet-50',
    'r101': 'ResNet-101',
    'swin-s': 'Swin-S',
    'swin-t': 'Swin-T',
    'convnext-t': 'ConvNeXt-T',
    'vit-b': 'ViT-B',
    'lsknet-s': 'LSKNet-S',
    'effb7': 'EfficientNet-B7',
}


def _length(cfg):
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters


def _trained(cfg):
    times = range(_length(cfg))
    if zoo.freezing(cfg) is None:
        return len(times)
    schedule = build_schedule(zoo.freezing(cfg))
    if schedule.decides:
        return None  # what a budget decides is not known before
    stages = [f'stage{i}' for i in range(5)]
    return sum(bool(schedule.trainable(t, t, stages)) for t in times)


@folders
def test_method_card_lists_every_config_of_its_folder(folder):
    links = linked(zoo.CONFIGS / folder / 'README.md')
    assert {p for p in links if p.suffix == '.py'} == set((zoo.CONFIGS / folder).glob('*.py'))
    assert all(p.exists() for p in links)


def test_names_are_unique():
    """``mim`` finds a bare name only then."""
    assert len({path.name for path in zoo.FILES}) == len(zoo.FILES)


def test_readme_lists_every_config():
    readme = zoo.CONFIGS / 'README.md'
    links = linked(readme)
    configs = [p for p in links if p.suffix == '.py']
    assert len(configs) == len(set(configs)) and set(configs) == set(zoo.FILES)
    assert all(p.exists() for p in links)
    assert f'{len(zoo.FILES)} configs' in readme.read_text()


def test_options_that_the_readmes_name():
    """Keys as a user gives them to ``--cfg-options``."""
    detector = 'rotated-retinanet-rbox-le90_r50_fpn'
    names = [n for n in zoo.NAMES if n.startswith(detector) and n.endswith('-1x_dota')]
    configs = [zoo.load(name) for name in names]  # a key of one method's hook is in that method's
    named = set()
    for readme in zoo.CONFIGS.glob('**/README.md'):
        text = readme.read_text()
        named |= set(re.findall(r'(?<![\w`.-])([a-z_]+(?:\.\w+)+)=', text))
        named |= set(re.findall(r'`(?:--cfg-options )?([a-z_]+(?:\.\w+)+)=', text))
    assert 'custom_hooks.0.schedule.rho' in named and len(named) >= 7
    for key in named:
        assert any(_has(cfg, key) for cfg in configs), key
    cfg = configs[names.index(f'{detector}_dbf-rho10-1x_dota')]
    cfg.merge_from_dict({'custom_hooks.0.schedule.rho': 2})
    assert build_schedule(cfg.custom_hooks[0].schedule).rho == 2


def _has(cfg, key):
    value = cfg
    for name in key.split('.'):
        if not name.isdigit() and name not in value:
            return False
        value = value[int(name)] if name.isdigit() else value[name]
    return True
