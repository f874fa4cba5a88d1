"""Weights that a run starts from: there, readable, and fitting where it matters."""

import re

import pytest
import rig
import torch
from mmengine.config import Config
from torch import nn

from mmbackbone_plugins.lab import weights


@pytest.fixture(scope='module')
def detector():
    return rig.build(rig.detector())


@pytest.fixture
def save(tmp_path):
    """Saves a checkpoint as mmengine does; what is None is left out."""

    def write(state, name='x.pth', **more):
        run = dict(meta=dict(epoch=1, iter=4), message_hub={}, state_dict=state, **more)
        torch.save({k: v for k, v in run.items() if v is not None}, tmp_path / name)
        return str(tmp_path / name)

    return write


def filled(model, value=0.5):
    return {n: torch.full_like(t, value) for n, t in model.state_dict().items()}


def without(state, start):
    return {n: t for n, t in state.items() if not n.startswith(start)}


# -- a whole detector ------------------------------------------------------------------------------


def semi():
    train = dict(freeze_teacher=True)
    return dict(type='SoftTeacher', detector=rig.detector('faster-rcnn'), semi_train_cfg=train)


def test_what_fits_is_loaded(detector, save):
    for prefix in ('', 'module.'):
        model = rig.build(rig.detector())
        state = {f'{prefix}{n}': t for n, t in filled(detector).items()}
        weights.load_weights(model, save(without(state, 'num_batches')))
        assert not rig.equal(model.state_dict(), filled(detector))
    teacher = rig.build(semi())
    plain = filled(rig.build(rig.detector('faster-rcnn')), 0.25)
    weights.load_weights(teacher, save(plain))  # mmdet fills both halves from it
    state = teacher.state_dict()
    assert torch.equal(state['student.backbone.conv1.weight'], plain['backbone.conv1.weight'])
    weights.load_weights(teacher, save(filled(teacher)))


OTHER = [
    (lambda s: without(s, 'neck.'), 'neck.lateral_convs.0.conv.weight .missing.'),
    (lambda s: {**s, 'backbone.blocks.layer1.w': torch.ones(1)}, 'layer1.w .not in the model.'),
    (lambda s: {f'student.{n}': t for n, t in s.items()}, "there as 'student.backbone.conv1.w"),
    (lambda s: {n[9:]: t for n, t in s.items() if n[:9] == 'backbone.'}, 'conv1.weight .missing'),
    (lambda s: {**s, 'bbox_head.retina_cls.bias': torch.ones(9, 1)}, r'shape .9, 1., .*has .18.'),
    (lambda s: {}, 'has no weights where they are looked for'),
]


@pytest.mark.parametrize('change, words', OTHER)
def test_what_does_not_fit_is_not_scored(change, words, detector, save, caplog):
    path = save(change(filled(detector)))
    for check in (weights.load_weights, weights.check_test):
        with pytest.raises(ValueError, match=words) as error:
            check(rig.build(rig.detector()), path)
        assert str(error.value).startswith(f'checkpoint {path!r} ')
        assert '\n' not in str(error.value)


def test_where_mmengine_does_not_look(detector, save):
    path = save(None, model=filled(detector))
    weights.load_weights(rig.build(rig.detector()), path)  # of our own tools
    with pytest.raises(ValueError, match="it holds 'meta', 'message_hub', 'model'"):
        weights.check_test(rig.build(rig.detector()), path)


def test_models_in_wrappers(detector, save):
    """Augmentation at test time; a distributed wrapper; a runner that builds its model later."""
    inner = rig.build(rig.detector())
    tta = rig.build(dict(type='DetTTAModel', module=inner, tta_cfg=None))
    good, bad = save(filled(detector)), save(without(filled(detector), 'neck.'), 'bad.pth')
    for model in (tta, nn.DataParallel(inner)):
        weights.check_test(model, good)
        with pytest.raises(ValueError, match='neck.* .missing.'):
            weights.check_test(model, bad)
    weights.check_test(dict(type='later'), bad)
    weights.check_test(rig.build(rig.detector()), bad, allow_partial=True)


def test_a_checkpoint_of_a_run_with_ema(tmp_path):
    rig.train(tmp_path, hooks=[dict(type='EMAHook')], epochs=1, length=2)
    path = str(tmp_path / 'epoch_1.pth')
    model = rig.build(rig.detector())
    weights.check_test(model, path)
    assert not rig.equal(model.state_dict(), torch.load(path, weights_only=False)['state_dict'])


class Resized(nn.Module):
    """Renames and resizes what it loads, as position embeddings of mmpretrain do."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))

    def _load_from_state_dict(self, state, prefix, *args):
        if args[0].get('version') != 2:
            state[f'{prefix}position'] = state.pop(f'{prefix}pos')[:4]
        super()._load_from_state_dict(state, prefix, *args)


def test_modules_say_themselves_what_fits(tmp_path):
    model = nn.ModuleDict(dict(backbone=Resized()))
    found = weights.load(model, {'backbone.pos': torch.arange(9.0), 'ema_backbone_pos': 0})
    assert not found.missing and not found.unknown
    assert model['backbone'].position.tolist() == [0, 1, 2, 3]
    torch.save(model.state_dict(), tmp_path / 'x.pth')  # knows its version
    weights.load_weights(model, str(tmp_path / 'x.pth'))


# -- training --------------------------------------------------------------------------------------


def cfg_of(path, resume=False):
    return Config(dict(load_from=path, resume=resume))


BACKBONE = [
    (lambda s: without(s, 'backbone.layer2'), r'\d+ keys of the backbone differ: .*layer2'),
    (lambda s: {**s, 'backbone.conv1.weight': torch.ones(9, 3, 7, 7)}, 'shape .9, 3, 7, 7., the'),
    (lambda s: {n.replace('backbone', 'encoder'): t for n, t in s.items()}, 'backbone.conv1.w'),
    (lambda s: {n[9:]: t for n, t in s.items() if n[:9] == 'backbone.'}, 'backbone.init_cfg'),
]


@pytest.mark.parametrize('change, words', BACKBONE)
@pytest.mark.parametrize('kind', ['plain', 'semi'])
def test_load_from_has_to_fill_the_backbone(kind, change, words, detector, save):
    model = detector if kind == 'plain' else rig.build(semi())
    plain = detector if kind == 'plain' else rig.build(rig.detector('faster-rcnn'))
    path = save(change(filled(plain)))
    with pytest.raises(ValueError, match=words) as error:
        weights.check_start(model, cfg_of(path))
    assert str(error.value).startswith(f'load_from={path!r} ')
    assert '--allow-partial' in str(error.value) and '\n' not in str(error.value)
    weights.check_start(model, cfg_of(path), allow_partial=True)


@pytest.fixture
def said(monkeypatch):
    texts = []
    monkeypatch.setattr(weights, 'print_log', lambda text, **_: texts.append(text))
    return texts


def test_another_head_is_one_line(detector, save, said):
    state = {**filled(detector), 'bbox_head.retina_cls.bias': torch.ones(7), 'old.w': torch.ones(1)}
    del state['neck.fpn_convs.0.conv.bias']
    weights.check_start(detector, cfg_of(path := save(state)))
    total = len(detector.state_dict())
    assert said == [
        f'load_from={path!r}: 2 of {total} keys of the model are not filled and start as new, 1 of '
        'the file are not used: neck.fpn_convs.0.conv.bias (missing), bbox_head.retina_cls.bias '
        '(shape (7), the model has (18)), old.w (not in the model)'
    ]
    weights.check_start(detector, cfg_of(save(filled(detector))))
    weights.check_start(detector, cfg_of(None))
    assert len(said) == 1


def test_added_blocks_are_new(detector, save, said):
    """Plain checkpoints load into a backbone with blocks; the blocks start as they are."""
    model = rig.build(rig.detector(backbone=rig.with_blocks(rig.resnet())))
    weights.check_start(model, cfg_of(save(filled(detector))))
    assert len(said) == 1 and 'backbone.blocks.' in said[0]


def test_a_resumed_run_has_to_fit_as_a_whole(detector, save):
    state = filled(detector)
    weights.check_start(detector, cfg_of(save(state), resume=True))
    for key in ('meta', 'message_hub', 'epoch'):
        meta = dict(CLASSES=('a', 'b')) if key == 'epoch' else dict(epoch=1, iter=4)
        run = {'meta': meta, 'message_hub': {}, 'state_dict': state, key: None}
        path = save(state)
        torch.save({k: v for k, v in run.items() if v is not None}, path)
        with pytest.raises(ValueError, match=f"^--resume: .*x.pth' holds weights alone, no '{key}"):
            weights.check_start(detector, cfg_of(path, resume=True))
    for wrong in (without(state, 'bbox_head.'), {**state, 'old.w': torch.ones(1)}):
        path = save(wrong)
        with pytest.raises(ValueError, match='^--resume: .* does not fit the config'):
            weights.check_start(detector, cfg_of(path, resume=True))
        weights.check_start(detector, cfg_of(path, resume=True), allow_partial=True)


def test_the_check_changes_no_bit_of_a_run(tmp_path):
    """It loads what fits into the model; initialisation and the runner's own loading come after."""
    state = filled(rig.build(rig.detector()), 0.01)
    path = str(tmp_path / 'x.pth')
    torch.save(dict(state_dict=without(state, 'neck.')), path)
    ends = []
    for check in (False, True):
        built = rig.runner(tmp_path / str(check), epochs=1, length=2, load_from=path)
        if check:
            weights.check_start(built.model, built.cfg)
        built.train()
        ends.append(rig.recorder(built).states)
    for plain, checked in zip(*ends):
        assert not rig.equal(plain, checked)


# -- init_cfg --------------------------------------------------------------------------------------


def pretrained(path, **options):
    return dict(type='Pretrained', checkpoint=path, **options)


PLACES = {
    'model.backbone.init_cfg.checkpoint': lambda c: dict(
        type='RetinaNet', backbone=dict(type='ResNet', init_cfg=c)
    ),
    'model.init_cfg.checkpoint': lambda c: dict(type='RetinaNet', init_cfg=c),
    'model.backbone.backbone.init_cfg.1.checkpoint': lambda c: dict(
        backbone=dict(
            type='StageBlockBackbone',
            backbone=dict(type='mmdet.ResNet', init_cfg=[dict(type='Kaiming'), c]),
        )
    ),
    'model.detector.roi_head.0.init_cfg.checkpoint': lambda c: dict(
        type='SoftTeacher', detector=dict(roi_head=[dict(type='Shared2FCBBoxHead', init_cfg=c)])
    ),
    'model.teacher_config.model.init_cfg.checkpoint': lambda c: dict(
        teacher_config=dict(model=dict(init_cfg=c))
    ),
    'model.backbone.pretrained': lambda c: dict(
        backbone=dict(type='ResNet', pretrained=c['checkpoint'])
    ),
    'model.teacher_ckpt': lambda c: dict(teacher_config='t.py', teacher_ckpt=c['checkpoint']),
}


@pytest.mark.parametrize('where', PLACES)
def test_init_cfg_is_looked_into_before_the_run(where, tmp_path):
    path = tmp_path / 'r18.pth'
    cfg = Config(dict(model=PLACES[where](pretrained(str(path)))))
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(where)}='.*r18.pth' does not exist$"):
        weights.check_init_cfg(cfg)
    path.write_bytes(b'version https://git-lfs')
    with pytest.raises(ValueError, match=f'^{re.escape(where)}=.* is a pointer of Git LFS'):
        weights.check_init_cfg(cfg)
    torch.save(dict(w=torch.ones(1)), path)
    weights.check_init_cfg(cfg)


def test_a_teacher_in_a_file_of_its_own(tmp_path):
    teacher = tmp_path / 'teacher.py'
    teacher.write_text("model = dict(init_cfg=dict(type='Pretrained', checkpoint='gone.pth'))\n")
    cfg = Config(dict(model=dict(teacher_config=str(teacher))))
    with pytest.raises(FileNotFoundError, match='model.teacher_config.model.init_cfg.checkpoint='):
        weights.check_init_cfg(cfg)
    torch.save(dict(w=torch.ones(1)), tmp_path / 't.pth')
    cfg.model.teacher_ckpt = str(tmp_path / 't.pth')  # in the place of the teacher's own
    weights.check_init_cfg(cfg)


def test_where_the_weights_in_it_are_looked_for(tmp_path):
    torch.save(dict(model={'backbone.w': torch.ones(1)}), tmp_path / 'x.pth')
    found = pretrained(str(tmp_path / 'x.pth'))
    swin = dict(backbone=dict(type='SwinTransformer', init_cfg=found))
    weights.check_init_cfg(Config(dict(model=swin)))  # which reads files of timm itself
    resnet = dict(backbone=dict(type='ResNet', init_cfg=found))
    with pytest.raises(ValueError, match="it holds 'model'"):
        weights.check_init_cfg(Config(dict(model=resnet)))
    torch.save(dict(state_dict={'backbone.w': torch.ones(1)}), tmp_path / 'x.pth')
    for prefix in ('backbone', 'encoder.'):
        resnet['backbone']['init_cfg'] = {**found, 'prefix': prefix}
        if prefix == 'backbone':
            weights.check_init_cfg(Config(dict(model=resnet)))
    with pytest.raises(ValueError, match="nothing under prefix='encoder.'; it has backbone.w"):
        weights.check_init_cfg(Config(dict(model=resnet)))


def test_what_is_not_read_is_not_looked_for():
    address = pretrained('torchvision://resnet50')
    weights.check_init_cfg(Config(dict(model=dict(backbone=dict(init_cfg=address)))))
    weights.check_init_cfg(Config(dict(model=dict(backbone=dict(checkpoint='gone.pth')))))
    gone = dict(backbone=dict(init_cfg=pretrained('gone.pth')))
    weights.check_init_cfg(Config(dict(model=gone)), train=False)
    with pytest.raises(FileNotFoundError, match='model.teacher_ckpt'):
        weights.check_init_cfg(Config(dict(model=dict(gone, teacher_ckpt='t.pth'))), train=False)
