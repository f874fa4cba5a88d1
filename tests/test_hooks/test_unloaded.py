"""What no file has filled is seen, and trains; what is named trains too; the rest stays frozen."""

import re

import pytest
import rig
import small_vit
import torch

FROZEN = dict(type='FrozenBackbone')
FPN1 = {f'backbone.fpn1.{n}' for n in ('0.weight', '0.bias', '1.weight', '1.bias')} | {
    f'backbone.fpn1.3.{n}' for n in ('weight', 'bias')
}


def hook(schedule=FROZEN, **options):
    return dict(type='FreezingSchedulerHook', schedule=schedule, **options)


@pytest.fixture
def pretrained(tmp_path):
    path = tmp_path / 'mae.pth'
    torch.save(dict(state_dict=small_vit.weights()), path)
    return path


def runner(work_dir, hooks, model, **options):
    settings = dict(dict(epochs=2, length=4, size=36, seed=3), **options)
    return rig.runner(work_dir, hooks=hooks, model=model, **settings)


def train(work_dir, hooks, model, **options):
    """What was recorded, and the warnings of the hooks under test."""
    built = runner(work_dir, hooks, model, **options)
    said = rig.listen_to(built)
    built.train()
    words = ('start as new', 'weights are random')
    return rig.recorder(built), [m for m in said if any(w in m for w in words)], said


def moved(record, prefix='backbone.'):
    names = {n for n in record.states[0] if n.startswith(prefix)}
    return names & set(rig.equal(record.states[0], record.states[-1]))


def test_random_layers_in_a_frozen_backbone_are_caught(tmp_path, pretrained):
    record, said, log = train(tmp_path, [hook()], small_vit.model(pretrained))
    trained = {n for n in FPN1 if n != 'backbone.fpn1.0.bias'}  # the batch norm takes it off
    statistics = {n for n in record.states[0] if n.startswith('backbone.fpn1.1.') and n not in FPN1}
    assert trained <= moved(record) <= FPN1 | statistics and statistics <= moved(record)
    assert all(t & set(FPN1) == FPN1 for t in record.trains)
    for name, tensor in small_vit.weights().items():  # norms that stayed as new are loaded too
        assert torch.equal(record.states[-1][f'backbone.{name}'], tensor), name
    for sleeping in record.in_eval:
        assert 'backbone.fpn1.1' not in sleeping and 'backbone.norm' in sleeping
        assert {'backbone', 'backbone.blocks.2.drop'} <= sleeping
    assert len(said) == 1 and said[0].startswith('FreezingSchedulerHook: 6 of 23 parameters')
    assert 'backbone.fpn1.0.weight' in said[0] and str(pretrained) in said[0]
    table = next(m for m in log if 'unloaded\n' in m).splitlines()
    rows = {line.split()[0]: line.split() for line in table[1:] if line.strip()}
    assert rows['unloaded'] == ['unloaded', '312', 'yes', 'train', '312']
    assert rows['last'] == ['last', '12', 'no', 'eval', '0']


def test_the_failure_itself_with_freeze(tmp_path, pretrained):
    options = dict(unloaded='freeze')
    record, said, log = train(tmp_path, [hook(**options)], small_vit.model(pretrained))
    assert not moved(record) and not said
    assert any(re.search(r'last +324 +no +eval +312', m) for m in log)


def test_error_names_what_is_random(tmp_path, pretrained):
    for kind in (hook(unloaded='error'), dict(REGULARIZER, unloaded='error')):
        with pytest.raises(ValueError, match=f"^{kind['type']}: unloaded='error': 6 of 23.*fpn1.0"):
            runner(tmp_path, [kind], small_vit.model(pretrained)).train()


REGULARIZER = dict(type='DistortionRegularizerHook', importance='uniform', coeff=0.1)
HEAD = {'head.weight': torch.ones(1, 6, 1, 1), 'head.bias': torch.zeros(1)}
NOTHING = {
    'no file': (None, {}, 'neither an init_cfg of type Pretrained nor load_from names one for it'),
    'empty': ({}, {}, 'has no weights .* it holds nothing'),
    'head alone': (HEAD, {}, 'has none of its parameters; it has head.weight, head.bias'),
    'whole detector': (small_vit.weights('backbone.', drop=()), {}, "prefix='backbone.'.* would"),
    'wrong prefix': (
        {**small_vit.weights('student.backbone.'), 'neck.conv.weight': torch.ones(1)},
        dict(prefix='neck.'),
        "prefix='student.backbone.'.* would fit",
    ),
    'other places': (dict(model=small_vit.weights()), {}, "it holds 'model'"),
    'another architecture': (
        small_vit.weights(width=8),
        {},
        r'of another architecture \(backbone.pos_embed: shape \(1, 16, 8\) in the file, '
        r'\(1, 16, 6\) in the model',
    ),
}


@pytest.mark.parametrize('name', NOTHING)
def test_nothing_loaded_is_said_once_and_changes_nothing(name, tmp_path):
    content, options, words = NOTHING[name]
    path = None if content is None else tmp_path / 'file.pth'
    if path:
        torch.save(content, path)
    model = small_vit.model(path, **options)
    drift = dict(type='DriftHook', num_images=0)
    schedule = dict(type='StepFreezing', rho=2)
    record, said, _ = train(tmp_path, [hook(schedule), REGULARIZER, drift], model)
    assert len(said) == 1, said
    assert said[0].startswith("FreezingSchedulerHook: nothing of 'backbone' was loaded from a file")
    assert re.search(words, said[0]), said[0]
    trains = [any(n.startswith('backbone.') for n in t) for t in record.trains]
    assert trains == [True] * 2 + [False] * 2
    with pytest.raises(ValueError, match="unloaded='error': nothing of 'backbone'"):
        runner(tmp_path, [hook(unloaded='error')], model).train()


def test_other_hooks_say_it_too(tmp_path):
    for kind in (REGULARIZER, dict(type='DriftHook', num_images=0)):
        _, said, _ = train(tmp_path, [kind], small_vit.model(), epochs=1)
        assert [m.split(':')[0] for m in said] == [kind['type']]


def test_load_from_fills_what_an_init_cfg_leaves(tmp_path, pretrained):
    whole = tmp_path / 'detector.pth'
    torch.save(dict(state_dict={**small_vit.weights('backbone.', drop=()), **HEAD}), whole)
    model = small_vit.model(pretrained)
    record, said, _ = train(tmp_path, [hook()], model, load_from=str(whole))
    assert not said and not moved(record)
    torch.save(dict(state_dict=HEAD), whole)
    record, said, _ = train(tmp_path / 'head', [hook()], model, load_from=str(whole))
    assert len(said) == 1 and '(load_from)' in said[0] and moved(record) & FPN1


def test_a_target_of_its_own_beside_the_backbone(tmp_path, pretrained):
    """Of a head nothing is ever loaded: who names it wants it frozen."""
    hooks = [hook(dict(type='ProbeThenFinetune', probe=1), target=['backbone', 'head'])]
    record, said, _ = train(tmp_path, hooks, small_vit.model(pretrained))
    assert len(said) == 2 and record.trains[0] == FPN1
    assert {'head.weight', 'backbone.norm.weight'} <= record.trains[-1]


def test_what_the_model_freezes_itself_is_named(tmp_path, pretrained):
    model = small_vit.model(pretrained, frozen=('fpn1.0',))
    record, said, _ = train(tmp_path, [hook()], model)
    assert '2 of them never train: the model keeps them frozen by itself' in said[0]
    assert not moved(record, 'backbone.fpn1.0')


def test_a_penalty_leaves_what_has_no_theta0(tmp_path, pretrained):
    model = small_vit.model(pretrained)
    for setting, held in (('train', 17), ('freeze', 23)):
        built = runner(tmp_path, [dict(REGULARIZER, unloaded=setting)], model, epochs=1)
        said = rig.listen_to(built)
        built.train()
        saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['mmbackbone_anchor']
        assert len(saved) == held and bool(FPN1 & saved.keys()) == (setting == 'freeze')
        assert any(' unloaded' in m and 'held' in m for m in said) == (setting == 'train')


ALWAYS = {
    'unloaded': dict(),
    'norms': dict(keep_trainable='norm'),
    'bitfit': dict(keep_trainable=[r'bias$', 'pos_embed']),
}


@pytest.mark.parametrize('name', ALWAYS)
def test_equal_to_a_plain_loop_and_after_a_resume(name, tmp_path, pretrained):
    """Against ``requires_grad`` and modes set by hand; dropout is off wherever it is frozen."""
    model = small_vit.model(pretrained)
    options = dict(epochs=3, optimizer=dict(rig.ADAMW, lr=0.01))
    hooks = [hook(**ALWAYS[name]), dict(type='Reseed')]
    whole, _, _ = train(tmp_path / 'whole', hooks, model, **options)

    patterns = ALWAYS[name].get('keep_trainable', ())
    wanted = {
        n
        for n in dict(runner(tmp_path, [], model).model.named_parameters())
        if n in FPN1
        or not n.startswith('backbone.')
        or any(re.search(p, n) for p in ([patterns] if isinstance(patterns, str) else patterns))
    }
    net = runner(tmp_path, [], model).model
    net.load_state_dict(whole.states[0])
    for n, p in net.named_parameters():
        p.requires_grad_(n in wanted)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.05)
    scenes = rig.DrawnScenes(4, 36)
    for _ in range(3):
        net.eval()
        norms = [n for n in ('norm', *(f'blocks.{i}.norm1' for i in range(3)))]
        for part in ('fpn1', *(norms if name != 'unloaded' else ())):
            net.backbone.get_submodule(part).train()
        for start in (0, 2):
            optimizer.zero_grad()
            net([scenes[i]['inputs'] for i in (start, start + 1)])['loss'].backward()
            optimizer.step()
    assert not rig.equal(whole.states[-1], net.state_dict())
    assert whole.trains[-1] == wanted

    part = dict(options, epochs=1)
    train(tmp_path / 'part', hooks, model, **part)
    resumed, said, _ = train(tmp_path / 'part', hooks, model, **options, resume=True)
    assert not rig.equal(resumed.states[-1], whole.states[-1]) and len(said) == 1
    # The files are gone: what is kept in the checkpoint counts.
    assert resumed.trains == whole.trains[2:]


def test_a_run_that_was_begun_without_the_hook(tmp_path, pretrained):
    model = small_vit.model(pretrained)
    train(tmp_path, [], model, epochs=1)
    record, said, log = train(tmp_path, [hook()], model, resume=True)
    assert not said and not moved(record) and not any('unloaded' in m for m in log)


@pytest.mark.parametrize(
    'value, words',
    [
        ('nrom', "keep_trainable: 'nrom' matches no parameter of the target 'backbone'"),
        (['norm', 'head'], "keep_trainable: 'head' matches no parameter"),
        ('blocks.0', "keep_trainable: all that 'blocks.0' matches is kept frozen by the model"),
        ('(', r"keep_trainable: '\(' is no regular expression"),
        (3, 'keep_trainable must be a text or a list of texts, got 3'),
    ],
)
def test_patterns_that_say_nothing(value, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        model = small_vit.model(frozen=('blocks.0',))
        runner(tmp_path, [hook(keep_trainable=value)], model).train()


def test_unknown_settings(tmp_path):
    for kind in (hook(unloaded='no'), dict(REGULARIZER, unloaded='no')):
        with pytest.raises(ValueError, match="unloaded must be one of 'train', 'freeze', 'error'"):
            runner(tmp_path, [kind], small_vit.model())


@pytest.fixture(scope='module')
def swin(tmp_path_factory):
    """Swin of the rig with weights named as its authors do, who have no norm after each stage."""
    path = tmp_path_factory.mktemp('weights') / 'swin.pth'
    net = rig.build(dict(rig.detector(backbone=rig.swin()))).backbone
    names = (('stages.', 'layers.'), ('attn.w_msa.', 'attn.'), ('ffn.layers.0.0', 'mlp.fc1'))
    names += (('ffn.layers.1', 'mlp.fc2'), ('patch_embed.projection', 'patch_embed.proj'))
    state = {}
    for name, tensor in net.state_dict().items():
        if not re.match(r'norm\d', name):
            for ours, theirs in names:
                name = name.replace(ours, theirs)
            state[name] = tensor
    torch.save(dict(model=state), path)
    init = dict(type='Pretrained', checkpoint=str(path))
    return rig.detector(backbone=rig.swin(convert_weights=True, init_cfg=init))


NORMS = {f'backbone.norm{i}.{n}' for i in range(4) for n in ('weight', 'bias')}


def test_two_ranks_train_and_send_the_new_norms_of_a_swin(swin, tmp_path):
    hooks = [hook(), *[dict(type='CommunicatedBytes')] * rig.KEEPS_COMM_HOOKS]
    options = dict(model=swin, epochs=2, optimizer=rig.ADAMW, size=64, length=4)
    first, second = rig.run(2, work_dir=str(tmp_path), hooks=hooks, **options, batch=1)
    assert not any(rig.equal(a, b) for a, b in zip(first['states'], second['states']))
    inside = {n for n in first['trains'][0] if n.startswith('backbone.')}
    assert inside == NORMS and len(set(first['trains'])) == 1
    assert set(rig.equal(first['states'][0], first['states'][-1], 'backbone.')) == NORMS
    sizes = {n: rig.nbytes(t) for n, t in first['states'][0].items()}
    assert all(sent == sum(sizes[n] for n in first['trains'][0]) for sent in first.get('bytes', []))
