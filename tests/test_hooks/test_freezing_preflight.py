"""Bad input: one clear error before the first step, or a warning where the run is still right."""

from pathlib import Path

import pytest
import rig
import torch
from mmengine.runner import Runner
from torch import nn

from mmbackbone_plugins import FreezePlan, Stage, StageMap, build_schedule
from mmbackbone_plugins.freezing.ddp import wrapper_conflict
from mmbackbone_plugins.hooks import preflight


def hook(kind, **arguments):
    return dict(type='FreezingSchedulerHook', schedule=dict(type=kind, **arguments))


def error_of(tmp_path, *hooks, prepare=None, **options):
    """The message of a run that must fail before it trains anything."""
    built = rig.runner(tmp_path, hooks=list(hooks), **options)
    if prepare:
        prepare(built)
    with pytest.raises(ValueError) as error:
        built.train()
    record = rig.recorder(built)
    assert not record.per_iter and not record.trains
    return str(error.value)


def log_of(tmp_path, *hooks, **options):
    rig.train(tmp_path, hooks=list(hooks), **options)
    return next(Path(tmp_path).glob('*/*.log')).read_text()


def test_epochs_in_an_iteration_loop(tmp_path):
    message = error_of(tmp_path, hook('StepFreezing', rho=2), iters=4)
    assert 'IterBasedTrainLoop' in message and 'by_epoch=False' in message


def test_full_training_counts_nothing_and_runs_in_any_loop(tmp_path):
    for kind in ('FullTraining', 'FrozenBackbone'):
        rig.train(tmp_path / kind, hooks=[hook(kind)], iters=2)


def test_unknown_target(tmp_path):
    message = error_of(tmp_path, rig.dbf(2, target='backbon'))
    assert "'backbon'" in message and 'nearest: backbone' in message


def test_target_without_parameters(tmp_path):
    assert 'no parameters' in error_of(tmp_path, rig.dbf(2, target='data_preprocessor'))


def test_a_backbone_that_cannot_be_in_eval_mode_under_a_loss(tmp_path):
    """Case 22: TridentNet has three branches in training and one in eval mode."""
    trident = dict(
        type='mmdet.TridentResNet',
        depth=50,
        base_channels=4,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        trident_dilations=(1, 2, 3),
        num_branch=3,
        test_branch_idx=1,
        norm_cfg=dict(type='BN'),
    )
    model = dict(rig.detector(), backbone=trident)
    message = error_of(tmp_path, rig.dbf(2), model=model)
    assert "frozen_mode='eval'" in message and "'backbone' (TridentResNet)" in message
    assert "frozen_mode='norm_eval'" in message and "'train'" in message


def test_the_table_shows_the_modes_that_the_first_epoch_has(tmp_path):
    """Item 21: modes are applied later, after the loop has called ``train()``."""
    built = rig.runner(tmp_path, hooks=[hook('FrozenBackbone')], epochs=1)
    messages = rig.listen_to(built)
    built.train()
    message = next(m for m in messages if '(rest of model)' in m)
    table = message.splitlines()[2:7]
    assert [line.split()[-1] for line in table] == ['eval'] * 5


def test_nothing_trains(tmp_path):
    def freeze_the_rest(built):
        for name, p in built.model.named_parameters():
            p.requires_grad_(name.startswith('backbone.'))

    message = error_of(tmp_path, rig.dbf(2), prepare=freeze_the_rest)
    assert 'nothing trains from 2 to 2, as the log counts' in message


def test_target_is_the_whole_model(tmp_path):
    assert 'nothing trains' in error_of(
        tmp_path, rig.dbf(2, target=['backbone', 'neck', 'bbox_head'])
    )


def test_parameters_missing_from_the_optimizer(tmp_path):
    def build_without(built):
        rest = [p for n, p in built.model.named_parameters() if not n.startswith('backbone.layer4')]
        built.optim_wrapper = built.build_optim_wrapper(
            dict(type='OptimWrapper', optimizer=torch.optim.SGD(rest, lr=0.1))
        )

    message = error_of(tmp_path, rig.dbf(2), prepare=build_without)
    assert '15 parameters' in message and 'backbone.layer4.0.conv1.weight' in message


def test_never_trained_parameters_may_be_missing_from_the_optimizer(tmp_path):
    built = rig.runner(tmp_path, hooks=[hook('FrozenBackbone')], epochs=1)
    rest = [p for n, p in built.model.named_parameters() if not n.startswith('backbone.')]
    built.optim_wrapper = built.build_optim_wrapper(
        dict(type='OptimWrapper', optimizer=torch.optim.SGD(rest, lr=0.1))
    )
    built.train()


def test_two_hooks(tmp_path):
    message = error_of(tmp_path, rig.dbf(2), rig.dbf(3, target='neck'))
    assert 'two FreezingSchedulerHooks' in message and 'list of targets' in message


def test_compile(tmp_path):
    built = rig.runner(tmp_path, hooks=[rig.dbf(2)], epochs=2, compile=dict(backend='eager'))
    with pytest.raises(ValueError, match='compile=.*compile=False'):
        built.train()


def test_flexible_runner(tmp_path):
    """FSDP and DeepSpeed come with FlexibleRunner and a strategy; both names are in the error."""

    class Strategy:
        pass

    class FlexibleRunner(Runner):
        strategy = Strategy()

    built = rig.runner(tmp_path, hooks=[rig.dbf(2)])
    built.__class__ = FlexibleRunner
    with pytest.raises(ValueError, match='FlexibleRunner with strategy=Strategy'):
        built.train()


@pytest.fixture
def one_rank():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrappers_that_cannot_follow(one_rank):
    from mmengine.model import MMDistributedDataParallel, MMSeparateDistributedDataParallel
    from torch.distributed.fsdp import FullyShardedDataParallel

    plain = nn.Sequential(nn.Linear(2, 2))
    assert wrapper_conflict(plain) is None
    assert wrapper_conflict(nn.DataParallel(plain)) is None
    assert wrapper_conflict(MMDistributedDataParallel(plain)) is None
    static = MMDistributedDataParallel(plain, static_graph=True)
    assert 'static_graph=True' in wrapper_conflict(static)
    separate = MMSeparateDistributedDataParallel.__new__(MMSeparateDistributedDataParallel)
    assert 'MMSeparateDistributedDataParallel' in wrapper_conflict(separate)
    sharded = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    assert wrapper_conflict(sharded) is None or 'FSDP' in wrapper_conflict(sharded)


def test_fsdp_of_mmengine(one_rank):
    from mmengine.model.wrappers import MMFullyShardedDataParallel

    sharded = MMFullyShardedDataParallel.__new__(MMFullyShardedDataParallel)
    message = wrapper_conflict(sharded)
    assert 'MMFullyShardedDataParallel' in message and 'MMDistributedDataParallel' in message


def test_amp_without_gradients(tmp_path):
    """torch's scaler refuses to step an optimizer none of whose parameters has a gradient."""
    from mmengine.optim import OptimWrapperDict

    def two_scalers(built):
        halves = (built.model.backbone, built.model.bbox_head)
        built.optim_wrapper = OptimWrapperDict(
            **{
                name: rig.CpuAmpOptimWrapper(optimizer=torch.optim.SGD(half.parameters(), lr=0.1))
                for name, half in zip(('body', 'head'), halves)
            }
        )
        built.scale_lr = lambda *_: None

    message = error_of(tmp_path, rig.dbf(2), prepare=two_scalers)
    assert 'optim_wrapper.body' in message and 'scaler' in message


def test_milestones_past_the_end_are_a_warning(tmp_path):
    """``--cfg-options train_cfg.max_epochs=2`` must keep working."""
    log = log_of(tmp_path, hook('MilestoneFreezing', train_epochs=[0, 5, 9]), epochs=2)
    assert 'names [5, 9], which this run of 2 epochs never reaches' in log


@pytest.mark.parametrize(
    'schedule, words',
    [
        (dict(type='ProbeThenFinetune', probe=6), 'names [6], which this run of 2 epochs never'),
        (dict(type='ProbeThenFinetune', probe=6), 'reaches: the target never trains'),
        (
            dict(type='StepFreezing', rho=100),
            'after epoch 1 of the log the target never trains again',
        ),
        (dict(type='MilestoneFreezing', train_epochs=[0, 5]), 'after epoch 1 of the log the'),
        (dict(type='MilestoneFreezing', train_epochs=[1, 5]), 'never reaches'),
        (dict(type='GradualUnfreezing', start=2, every=1), 'the target never trains'),
        (dict(type='GradualUnfreezing', start=0, every=1), 'does not come to a in this run of 2'),
        (dict(type='StepFreezing', rho=8, by_epoch=False), 'run of 2 iterations'),
        (dict(type='StepFreezing', rho=2), None),
        (dict(type='StepFreezing', rho=1), None),
        (dict(type='StepFreezing', rho='inf'), None),
        (dict(type='FrozenBackbone'), None),
        (dict(type='MilestoneFreezing', train_epochs=[0]), None),
        (dict(type='ProbeThenFinetune', probe=1), None),
    ],
)
@pytest.mark.parametrize('block', [(), ('d',)])
def test_what_a_run_is_too_short_for(schedule, words, block):
    """Case 20; ``d`` is an added block, which trains whatever the schedule says."""
    stages = [Stage(name, (name,), ()) for name in ('a', 'b', 'c')]
    stages += [Stage(name, (name,), (), is_block=True) for name in block]
    plan = FreezePlan(build_schedule(schedule), StageMap(stages))
    found = '\n'.join(preflight.unreached(plan, plan.phases(2)))
    assert words in found if words else not found


@pytest.mark.parametrize('backbone', [rig.resnet, lambda **o: rig.with_blocks(rig.resnet(**o))])
def test_a_backbone_frozen_by_itself(backbone, tmp_path):
    model = rig.detector(backbone=backbone(frozen_stages=4))
    message = error_of(tmp_path, rig.dbf(2), model=model)
    assert 'trains nothing in any phase' in message and 'frozen_stages=-1' in message
    frozen = dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'))
    log_of(tmp_path / 'frozen', frozen, epochs=1, model=model)


@pytest.mark.parametrize('counts, warned', [(1, False), (2, False), (3, True)])
def test_an_accumulation_window_cut_by_a_boundary_is_a_warning(counts, warned, tmp_path):
    log = log_of(tmp_path, rig.dbf(2), epochs=2, wrapper=dict(accumulative_counts=counts))
    assert (log.count('does not divide the epoch of 4 iterations') == 1) == warned


def test_sync_buffers_hook_is_a_warning(tmp_path):
    log = log_of(tmp_path, rig.dbf(2), dict(type='SyncBuffersHook'), epochs=1)
    assert 'SyncBuffersHook averages all buffers' in log


def test_a_clean_run_warns_of_nothing_of_ours(tmp_path):
    log = log_of(tmp_path, rig.dbf(2), epochs=2)
    ours = [x for x in log.splitlines() if 'WARNING' in x and 'reezing' in x]
    assert len(ours) == 1 and 'its weights are random' in ours[0]  # as is everything in these tests


@pytest.mark.slow
def test_static_graph_in_a_distributed_run(tmp_path):
    options = dict(hooks=[rig.dbf(2)], ddp=dict(static_graph=True))
    outputs = rig.run(2, returncode=1, work_dir=str(tmp_path), **options)
    assert all('static_graph=True promises' in output for output in outputs)
