"""Every config of the zoo builds: model, optimizer and hooks."""

import pytest
import torch
import zoo
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, VISUALIZERS

from mmbackbone_plugins import StageMap

GROUPS = zoo.groups(zoo.NAMES)


@pytest.mark.parametrize('first', GROUPS)
def test_model_optimizer_and_hooks(first):
    """The model and optimizer are built once for all configs that have the same ones."""
    cfg = zoo.load(first)
    as_written = zoo.offline(zoo.load(first))
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
        assert zoo.offline(zoo.load(name)).model == as_written.model
        if 'constructor' in settings.optim_wrapper:
            build_optim_wrapper(model, settings.optim_wrapper)
        else:
            assert settings.optim_wrapper == as_written.optim_wrapper
        settings.visualizer.name = name  # one of its own: an instance of the same name is reused
        zoo.build(VISUALIZERS, settings.visualizer, settings.default_scope)
        hooks = [*settings.default_hooks.values(), *settings.get('custom_hooks', [])]
        for hook in hooks:
            zoo.build(HOOKS, hook, settings.default_scope)


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
