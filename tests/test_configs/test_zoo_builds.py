"""Every config of the zoo builds: model, optimizer and hooks, and the schedule does as named."""

import pytest
import torch
import zoo
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, VISUALIZERS

from mmbackbone_plugins import StageMap, build_schedule

GROUPS = zoo.groups()
FROZEN = [n for n in zoo.NAMES if zoo.freezing(zoo.load(n)) is not None]


def test_every_config_is_in_a_group():
    assert sorted(sum(GROUPS.values(), [])) == sorted(zoo.NAMES)


@pytest.mark.parametrize('first', GROUPS)
def test_model_optimizer_and_hooks(first):
    """The model and optimizer are built once for all configs that have the same ones."""
    cfg = zoo.load(first)
    model = zoo.build_model(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    optimized = {id(p) for group in optimizer.param_groups for p in group['params']}
    stages = StageMap.of(model, 'backbone')
    assert sum(not s.is_block for s in stages) == 5  # stem or patch embedding, and four stages
    with_blocks = zoo.part(first, 'method') in ('se', 'se-dp-ft', 'adapter', 'combined')
    assert sum(s.is_block for s in stages) == (4 if with_blocks else 0)
    for parameter in model.parameters():
        assert id(parameter) in optimized or not parameter.requires_grad

    classes = {'dota': 15, 'dior': 20}[zoo.part(first, 'data')]
    head = model.bbox_head if hasattr(model, 'bbox_head') else model.roi_head.bbox_head
    for stage in head if isinstance(head, torch.nn.ModuleList) else [head]:
        assert stage.num_classes == classes

    for name in GROUPS[first]:
        settings = zoo.load(name)
        settings.visualizer.name = name  # one of its own: an instance of the same name is reused
        zoo.build(VISUALIZERS, settings.visualizer, settings.default_scope)
        hooks = [*settings.default_hooks.values(), *settings.get('custom_hooks', [])]
        for hook in hooks:
            zoo.build(HOOKS, hook, settings.default_scope)


@pytest.mark.parametrize('name', FROZEN)
def test_epochs_that_train(name):
    cfg = zoo.load(name)
    schedule = build_schedule(zoo.freezing(cfg))
    epochs = range(cfg.train_cfg.max_epochs)
    stages = ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    trained = [e for e in epochs if schedule.trainable(e, 0, stages)]
    method = zoo.part(name, 'method').replace('rgn-', '')
    if method in ('frozen', 'adapter'):
        assert trained == []
        return
    if 'dp-ft' in method or method == 'combined':
        assert trained == list(range(6, 12)) and _rates(cfg, trained) == {1.0, 0.1, 0.01}
        return
    if method == 'dbf-milestones':
        assert trained == list(range(1, 100, 20))  # the example of the authors' code
    else:
        rho = int(method[len('dbf-rho') :])
        assert trained == [e for e in epochs if e % rho == 0]
    assert len(trained) > 1, 'a backbone that trains in the first epoch alone shows nothing'
    if cfg.train_cfg.max_epochs == 100:
        assert _rates(cfg, trained) == {1.0, 0.1, 0.01}, 'see schedules/schedule_100e.py'


def _rates(cfg, epochs):
    """The relative learning rates at which the backbone trains."""
    (steps,) = (s for s in cfg.param_scheduler if s.by_epoch)
    return {round(steps.gamma ** sum(e >= m for m in steps.milestones), 6) for e in epochs}


@pytest.mark.parametrize('name', GROUPS)
def test_learning_rates_are_those_of_the_stack(name):
    """For two images on one GPU; mmdet's own are for sixteen."""
    cfg = zoo.load(name)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 2
    assert cfg.auto_scale_lr.enable is False
    optimizer = cfg.optim_wrapper.optimizer
    if zoo.part(name, 'backbone') == 'swin-s':
        assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
        return
    rates = {
        'rotated-retinanet-rbox-le90': 0.0025,
        'rotated-fcos-le90': 0.0025,
        'rotated-faster-rcnn-le90': 0.005,
        'oriented-rcnn-le90': 0.005,
        'roi-trans-le90': 0.005,
        'faster-rcnn': 0.02 * 2 / 16,
        'cascade-rcnn': 0.02 * 2 / 16,
        'retinanet': 0.01 * 2 / 16,
    }
    assert (optimizer.type, optimizer.lr) == ('SGD', rates[zoo.part(name, 'algorithm')])


def test_swin_without_its_first_output_has_no_idle_parameter():
    """A parameter that never has a gradient is an error under DistributedDataParallel."""
    name = 'rotated-retinanet-rbox-le90_swin-s_fpn_1x_dota'
    model = zoo.build_model(zoo.load(name))
    outputs = model.backbone(torch.zeros(1, 3, 64, 64))
    sum(level.sum() for level in model.neck(outputs)).backward()
    idle = [
        n
        for part in (model.backbone, model.neck)
        for n, p in part.named_parameters()
        if p.requires_grad and p.grad is None
    ]
    assert idle == []
