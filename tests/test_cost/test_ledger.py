"""The ledger against sums made by hand, through restarts and through its file."""

import json

import pytest

from mmbackbone_plugins.cost import Counted, Ledger, Lost, StepFlops, cost_text, side_by_side, weigh

FULL, FROZEN = Counted(100, 200), Counted(100, 60)


def ledger(full=3, frozen=5, run='a'):
    """Steps of two images each."""
    made = Ledger(run=run, parameters=40, iteration=full + frozen)
    for name, steps, counted, trains in (('full', full, FULL, 40), ('frozen', frozen, FROZEN, 10)):
        phase = made.phase(name, ['stage1'] if trains == 40 else [], trains)
        phase.steps = steps
        phase.batches = {'2x64x64': steps}
        phase.counted = {'2x64x64': counted}
        phase.step_seconds, phase.data_seconds = steps * 0.5, steps * 0.25
        phase.communicated_bytes = steps * trains * 4
        phase.saw_memory(1000 * trains)
    made.saw_operators(StepFlops(1, 1, {}, {'mmcv.nms': 2}))
    return made


def test_it_adds_up():
    found = ledger().totals()
    assert found == dict(
        steps=8,
        training_flops=3 * 300 + 5 * 160,
        full_training_flops=8 * 300,
        saving=pytest.approx(1 - 1700 / 2400),
        step_seconds=4.0,
        data_seconds=2.0,
        peak_memory=40000,
        communicated_bytes=3 * 160 + 5 * 40,
    )
    phase = ledger().phases['frozen']
    assert (phase.flops, phase.forward_flops, phase.step_flops) == (800, 500, 160)


def test_full_fine_tuning_that_never_happens_is_counted_apart():
    made = ledger(full=0)
    del made.phases['full']
    assert made.full_training_flops is None and made.saving is None
    made.full['1x64x64'] = Counted(50, 100)  # one image
    assert made.full_training_flops == 5 * 300
    assert made.saving == pytest.approx(1 - 160 / 300)


def test_nothing_counted_is_none_and_not_zero():
    made = ledger()
    made.phases['frozen'].counted = {}
    assert made.training_flops is None and made.saving is None
    assert '-' in cost_text(made)
    assert Ledger().training_flops == 0


@pytest.mark.parametrize(
    'shape, expected',
    [
        ('2x100x200', 1000),  # counted itself
        ('1x100x200', 500),  # half the images
        ('2x110x200', 1100),  # nearer to the first
        ('2x400x200', 8000),  # nearer to the second, and of its price by the pixel
        ('4x400x400', 32000),
        ('unknown', 0),
    ],
)
def test_other_shapes_are_worked_out_from_the_nearest(shape, expected):
    counted = {'2x100x200': Counted(400, 600), '2x400x400': Counted(8000, 8000)}
    assert weigh({shape: 3}, counted) == 3 * expected
    half = {'2x100x200': Counted(400, 600), '2x400x400': Counted(8000, 8000)}
    assert weigh({shape: 3}, half, 'forward') <= 3 * expected


def test_two_sets_of_one_name_are_two_phases():
    made = Ledger()
    first = made.phase('frozen', [], 10)
    assert made.phase('frozen', [], 10) is first
    second = made.phase('frozen', [], 12)
    assert second.name == 'frozen (2)' and made.phase('frozen', [], 12) is second


def test_a_restart_loses_what_came_after_its_checkpoint():
    at_checkpoint, at_kill = ledger(3, 5), ledger(3, 9)
    at_kill.lost = Lost(steps=2, flops=50, seconds=1.0, communicated_bytes=8)  # an earlier one
    at_kill.validation_seconds = 7.0
    at_checkpoint.lose(at_kill)
    assert at_checkpoint.lost == Lost(
        steps=2 + 4, flops=50 + 4 * 160, seconds=1.0 + 4 * 0.75, communicated_bytes=8 + 4 * 40
    )
    assert at_checkpoint.steps == 8 and at_checkpoint.validation_seconds == 7.0
    again = ledger(3, 5)
    again.lose(ledger(3, 4))  # the file is older than the checkpoint: nothing is known of a loss
    assert again.lost == Lost()


def test_json_round_trip(tmp_path):
    made = ledger()
    made.full, made.notes = {'1x8x8': Counted(1, 2)}, ['said']
    made.parts = [dict(iteration=0, ranks=2, device='CPU', torch='2.11')]
    made.lost = Lost(1, 2, 3.0, 4)
    made.write(tmp_path / 'cost.json')
    assert Ledger.read(tmp_path) == made == Ledger.read(tmp_path / 'cost.json')
    data = json.loads((tmp_path / 'cost.json').read_text())
    assert data['version'] == 1 and data['totals'] == made.totals()
    assert data['phases']['frozen']['flops'] == 800
    assert [p.name for p in tmp_path.iterdir()] == ['cost.json']


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{"version": 1, "phas',
        '[1, 2]',
        '{"version": 99}',
        '{"version": 1}',
        '{"version": 1, "phases": {"full": 3}, "full": {}, "lost": {}}',
        '{"version": 1, "phases": {}, "full": {}, "lost": {"steps": 1, "what": 2}}',
    ],
)
def test_what_is_no_record_is_said(text, tmp_path):
    (tmp_path / 'cost.json').write_text(text)
    with pytest.raises(ValueError, match='cost.json.*cannot be read'):
        Ledger.read(tmp_path)


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no cost record.*TrainingCostHook'):
        Ledger.read(tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        Ledger.read(tmp_path / 'nowhere')


def test_the_bill_in_words():
    made = ledger()
    made.lost, made.unrecorded_steps = Lost(steps=4, flops=640, seconds=61.0), 12
    made.memory_kind = 'resident memory of the process'
    text = cost_text(made)
    rows = [line.split() for line in text.splitlines()]
    assert rows[1][:2] == ['full', '3'] and '100.0%' in rows[1]
    assert rows[2][:2] == ['frozen', '5'] and '53.3%' in rows[2]
    for words in ('saved 29.2%', '4 steps', '1 min 01 s', 'mmcv.nms x 2', 'first 12 iterations'):
        assert words in text
    both = side_by_side(dict(dbf=made, other=ledger(8, 0))).splitlines()
    assert '29.2%' in both[1] and '0.0%' in both[2]
