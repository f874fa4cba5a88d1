"""Recipes on everyday pictures are what their names say, build, and differ where they should."""

import functools

import pytest
import torch
import zoo
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, VISUALIZERS

from mmbackbone_plugins import StageMap, build_schedule

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias:UserWarning')
every = pytest.mark.parametrize('name', zoo.RECIPES)

LADDER = (  # decoders by capacity, weakest first
    'faster-rcnn_{}_fpn_frozen-72e_coco',
    'faster-rcnn_{}_nasfpn_frozen-72e_coco',
    'cascade-rcnn_{}_nasfpn_frozen-72e_coco',
)


@every
def test_name_matches_content(name):
    assert zoo.name_of(zoo.load(name)) == name
    method = zoo.part(name, 'method') or 'baselines'
    by_data = zoo.part(name, 'data') in ('voc-shift', 'cityscapes-foggy')
    folder = (
        'domain_shift'
        if by_data
        else {'classifier': 'frozen', 'adapter': 'frozen'}.get(method, method)
    )
    assert zoo.path_of(name).parent.name == folder


@every
def test_inherits_from_mmdet_and_not_too_deep(name):
    levels = list(zoo.chain(zoo.path_of(name)))
    own = [(level, source) for level, source in levels if '::' not in source]
    assert max(level for level, _ in own) <= 4
    assert any(source.endswith('methods/custom_imports.py') for _, source in own)
    assert {source.split('::')[0] for _, source in levels if '::' in source} == {'mmdet'}


@every
def test_methods_differ_in_the_hook_alone(name):
    """Full and frozen; probing first takes twice as long and has a schedule of its own."""
    method = zoo.part(name, 'method')
    full = name.replace('frozen-', '')
    if method != 'frozen' or full not in zoo.RECIPES:
        return
    cfg, baseline = zoo.load(name).to_dict(), zoo.load(full).to_dict()
    assert 'custom_hooks' not in baseline and cfg.pop('custom_hooks')
    assert cfg == baseline


@every
def test_dumped_config_is_the_same_config(name, tmp_path):
    cfg = zoo.load(name)
    Config(cfg.to_dict(), format_python_code=False).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


@every
def test_schedule_is_the_papers_for_its_batch(name):
    """The papers' rates, for as many images a step as mmdet's own configs are for."""
    cfg = zoo.load(name)
    kind, base = zoo.part(name, 'schedule'), cfg.auto_scale_lr.base_batch_size
    optimizer, steps = cfg.optim_wrapper.optimizer, cfg.param_scheduler[-1]
    assert cfg.auto_scale_lr.enable is False
    if kind in ('72e', '600e'):
        assert base == 16 and optimizer.lr == pytest.approx(0.16 * 16 / 64)
        assert optimizer.weight_decay == 4e-5
        assert cfg.param_scheduler[0].end * base == 500 * 64  # images of the warm-up
        assert list(steps.milestones) == {'72e': [48, 68], '600e': [575, 590]}[kind]
    elif kind in ('80k', '24k'):
        assert (base, optimizer.lr) == {'80k': (2, 0.0025), '24k': (8, 0.01)}[kind]
        assert list(steps.milestones) == {'80k': [50000, 70000], '24k': [18000]}[kind]
        assert cfg.train_dataloader.batch_size in (1, base)
    for scheduler in cfg.param_scheduler:
        assert scheduler.get('begin', 0) < cfg.train_cfg.get('max_iters', 10**9)


@pytest.mark.parametrize('name', [n for n in zoo.RECIPES if '_dp-ft-' in n])
def test_both_halves_of_probing_then_fine_tuning_have_the_same_rates(name):
    """By mmengine's own schedulers, a hundred times faster: the second half begins anew."""
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = zoo.load(name)
    optimizer = torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)], cfg.optim_wrapper.optimizer.lr
    )
    schedulers = []
    for settings in cfg.param_scheduler:
        scaled = {k: v // 100 for k, v in settings.items() if k in ('begin', 'end')}
        if 'milestones' in settings:
            scaled['milestones'] = [m // 100 for m in settings.milestones]
        schedulers.append(PARAM_SCHEDULERS.build(dict(settings, optimizer=optimizer, **scaled)))
    rates = []
    for _ in range(cfg.train_cfg.max_iters // 100):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    half = len(rates) // 2
    assert build_schedule(zoo.freezing(cfg)).probe == 100 * half
    assert rates[half:] == pytest.approx(rates[:half], rel=1e-6)
    short = name.replace('rgn-reg-', '').replace('dp-ft-', 'frozen-')
    short = zoo.load(short.replace('160k', '80k').replace('48k', '24k'))
    assert short.train_cfg.max_iters == 100 * half
    assert max(rates) == pytest.approx(short.optim_wrapper.optimizer.lr)


# -- what is built -------------------------------------------------------------------------------


GROUPS = zoo.groups(zoo.RECIPES)


@pytest.fixture(scope='module')
def built():
    """Models of the recipes at their real size; all of them at once would take gigabytes."""

    @functools.lru_cache(maxsize=2)
    def build_group(first):
        return zoo.build_model(zoo.load(first))

    def build(name):
        (first,) = (f for f, names in GROUPS.items() if name in names)
        return build_group(first)

    yield build
    build_group.cache_clear()


@pytest.mark.parametrize('first', GROUPS)
def test_model_optimizer_and_hooks(first, built):
    cfg, model = zoo.load(first), built(first)
    classes = {'coco': 80, 'lvis': 1203, 'voc-shift': 20, 'cityscapes-foggy': 8}
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        assert head.num_classes == classes[zoo.part(first, 'data')]
    assert len(StageMap.of(model, 'backbone').names) >= 5
    build_optim_wrapper(model, cfg.optim_wrapper)
    for name in GROUPS[first]:
        settings = zoo.load(name)
        settings.visualizer.name = name  # one of its own: an instance of the same name is reused
        zoo.build(VISUALIZERS, settings.visualizer, settings.default_scope)
        for hook in [*settings.default_hooks.values(), *settings.get('custom_hooks', [])]:
            zoo.build(HOOKS, hook, settings.default_scope)
        if zoo.freezing(settings) is not None:
            hook = settings.custom_hooks[0]
            StageMap.of(model, hook.target)  # every path of a target exists


def share(model):
    """Part of the parameters that train when the whole backbone is frozen."""
    total = sum(p.numel() for p in model.parameters())
    return 1 - sum(p.numel() for p in model.backbone.parameters()) / total


@pytest.mark.parametrize('net', ['r50', 'r101'])
def test_trainable_share_grows_with_the_decoder(net, built):
    """Table 3 of "Proper Reuse": 26, 40 and 54 % on its ResNet-101, which is a larger one."""
    shares = [share(built(recipe.format(net))) for recipe in LADDER]
    assert shares == sorted(shares)
    ours = dict(r50=(0.437, 0.656, 0.755), r101=(0.300, 0.514, 0.631))[net]  # as the card says
    assert shares == pytest.approx(ours, abs=6e-4)


def test_levels_of_the_nas_fpn(built):
    """Levels 3 to 7; anchors of the same sizes as an FPN's, RoIs pooled at the same strides."""
    plain, strong = (built(r.format('r50')) for r in LADDER[:2])
    assert strong.rpn_head.prior_generator.strides == [(s, s) for s in (8, 16, 32, 64, 128)]
    for of_plain, of_strong in zip(
        *(m.rpn_head.prior_generator.base_anchors for m in (plain, strong))
    ):
        assert torch.equal(of_plain[:, 2:] - of_plain[:, :2], of_strong[:, 2:] - of_strong[:, :2])
    pictures = torch.zeros(1, 3, 128, 128)
    strong.eval()  # the last level is of one pixel: too few for a statistic
    with torch.no_grad():
        levels = strong.extract_feat(pictures)
    assert [f.shape[-1] for f in levels] == [16, 8, 4, 2, 1]
    sides = torch.tensor([20.0, 111, 113, 223, 225, 400, 449, 900])
    rois = torch.stack([0 * sides, 0 * sides, 0 * sides, sides, sides], dim=1)
    extractors = [m.roi_head.bbox_roi_extractor for m in (plain, strong)]
    strides = [
        torch.tensor(e.featmap_strides)[e.map_roi_levels(rois, 4)].tolist() for e in extractors
    ]
    # The same but for the ends: NAS-FPN has no level of stride 4, and one of 64.
    assert strides[0] == [4, 4, 8, 8, 16, 16, 32, 32]
    assert strides[1] == [8, 8, 8, 8, 16, 16, 32, 64]


def test_efficientnet_takes_mmpretrains_checkpoint(built):
    """Names and shapes of mmpretrain's model, whose checkpoint the recipe loads."""
    models = pytest.importorskip('mmpretrain.models')
    saved = models.EfficientNet(arch='b7').state_dict()
    mine = built('cascade-mask-rcnn_effb7_nasfpn_frozen-scp-72e_coco').backbone.state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: saved[k].shape for k in mine}
    assert {k.split('.')[1] for k in saved.keys() - mine.keys()} == {'6'}  # the classifier's conv
