"""Two gloo processes: equal on all ranks and to averaged gradients; they send what trains."""

import pytest
import rig
import torch


def model(**backbone):
    # Statistics fixed: with batch statistics each rank keeps buffers of its own, as always in DDP.
    return rig.detector(backbone=dict(rig.resnet(**backbone), norm_eval=True))


def sizes(names, detector):
    parameters = dict(rig.build(detector).named_parameters())
    return sum(parameters[n].numel() * 4 for n in names)


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    hooks = [rig.dbf(2), *[dict(type='CommunicatedBytes')] * rig.KEEPS_COMM_HOOKS]
    return rig.run(2, work_dir=str(folder), hooks=hooks, model=model(), epochs=5)


def test_ranks_are_equal_bit_for_bit_after_every_epoch(two_ranks):
    first, second = two_ranks
    assert len(first['states']) == 6
    for a, b in zip(first['states'], second['states']):
        assert not rig.equal(a, b)


def test_the_backbone_moves_in_its_epochs_only(two_ranks):
    states = two_ranks[0]['states']
    for epoch in range(5):
        changed = rig.equal(states[epoch], states[epoch + 1], 'backbone.')
        assert bool(changed) == (epoch % 2 == 0)


@pytest.mark.newer_torch
def test_communicated_bytes_are_those_of_what_trains(two_ranks):
    """No ``find_unused_parameters``: a frozen phase sends the decoder's gradients and no more."""
    for rank in two_ranks:
        assert len(rank['bytes']) == 10
        for sent, trains in zip(rank['bytes'], rank['trains']):
            assert sent == sizes(trains, model())
    assert two_ranks[0]['bytes'][2] < 0.2 * two_ranks[0]['bytes'][0]


def test_equal_to_one_process_that_averages_the_gradients(two_ranks, tmp_path):
    """A plain loop without hook, wrapper or runner; a rank's batches are every second image."""
    built = rig.runner(tmp_path, model=model(), epochs=1)
    net = built.model
    net.init_weights()
    net.load_state_dict(two_ranks[0]['states'][0])
    scenes = rig.DrawnScenes(8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    for epoch in range(5):
        net.train()
        for step in range(2):
            total = {}
            for rank in range(2):
                items = [scenes[4 * step + rank + 2 * i] for i in range(2)]
                batch = {k: [item[k] for item in items] for k in items[0]}
                data = net.data_preprocessor(batch, training=True)
                loss, _ = net.parse_losses(net(**data, mode='loss'))
                net.zero_grad()
                loss.backward()
                for name, p in net.named_parameters():
                    total[name] = total.get(name, 0) + p.grad / 2
            for name, p in net.named_parameters():
                frozen = epoch % 2 and name.startswith('backbone.')
                p.grad = None if frozen else total[name]
            optimizer.step()
        ours, theirs = dict(net.state_dict()), two_ranks[0]['states'][epoch + 1]
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


CASES = {
    'iteration-loop': dict(hooks=[rig.dbf(3, by_epoch=False)], iters=7, model=model()),
    'epoch-loop-by-iteration': dict(hooks=[rig.dbf(3, by_epoch=False)], epochs=3, model=model()),
    'accumulate-over-the-boundary': dict(
        hooks=[rig.dbf(2)], epochs=4, model=model(), wrapper=dict(accumulative_counts=3)
    ),
    'gradient-views-small-buckets': dict(
        hooks=[rig.dbf(2)],
        epochs=3,
        model=model(),
        ddp=dict(gradient_as_bucket_view=True, bucket_cap_mb=0.05),
    ),
    'swin-own-frozen-stages': dict(
        hooks=[rig.dbf(2)],
        epochs=3,
        model=rig.detector(backbone=rig.swin(frozen_stages=1)),
        optimizer=rig.ADAMW,
    ),
    'gradual': dict(
        hooks=[
            dict(
                type='FreezingSchedulerHook',
                schedule=dict(type='GradualUnfreezing', start=1, every=1),
            )
        ],
        epochs=4,
        model=model(with_cp=True),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_other_schedules_keep_ranks_equal(name, tmp_path):
    case = CASES[name]
    hooks = [*case['hooks'], dict(type='CommunicatedBytes')]
    first, second = rig.run(2, work_dir=str(tmp_path), **dict(case, hooks=hooks))
    for a, b in zip(first['states'], second['states']):
        assert not rig.equal(a, b)
    counts = case.get('wrapper', {}).get('accumulative_counts', 1)
    last = len(first['bytes'])
    for i, (sent, trains) in enumerate(zip(first['bytes'], first['trains']), start=1):
        synchronised = i % counts == 0 or i == last
        assert sent == (sizes(trains, case['model']) if synchronised else 0)


@pytest.mark.slow
def test_four_ranks_resume_from_two(tmp_path):
    """Which ranks there are is no part of the schedule."""
    options = dict(work_dir=str(tmp_path), hooks=[rig.dbf(2)], model=model(), batch=1)
    rig.run(2, epochs=2, **options)
    ranks = rig.run(4, epochs=3, resume=True, **options)
    for rank in ranks[1:]:
        assert not rig.equal(rank['states'][-1], ranks[0]['states'][-1])
    assert rig.equal(ranks[0]['states'][0], ranks[0]['states'][-1], 'backbone.')
