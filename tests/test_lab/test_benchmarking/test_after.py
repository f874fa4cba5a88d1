"""A method between two weights of another one's training, in a plan and as a run."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from mmbackbone_plugins.lab.benchmarking import Queue, RunFolder, read_plan, single
from mmbackbone_plugins.lab.benchmarking.results import Result
from mmbackbone_plugins.lab.toy import make_toy_dataset

ROOT = Path(__file__).resolve().parents[3]
WISE = dict(interpolate=dict(start='probed', choose='val', weights=[0, 0.5, 0.75, 1]))

CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins', 'oracle'], allow_failed_imports=False)
default_scope = 'mmrotate'
model = dict(
    type='Oracle',
    backbone=dict(type='Nothing'),
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor', boxtype2tensor=True),
)
pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(
        type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')
    ),
]
loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
dataset = dict(type='DOTADataset', data_root={root!r}, test_mode=True, pipeline=pipeline)
val_dataloader = dict(
    dataset=dict(ann_file='val/annfiles/', data_prefix=dict(img_path='val/images/'), **dataset),
    **loader,
)
test_dataloader = dict(
    dataset=dict(ann_file='test/annfiles/', data_prefix=dict(img_path='test/images/'), **dataset),
    **loader,
)
val_cfg, test_cfg = dict(), dict()
val_evaluator = dict(type='DOTAMetric', metric='mAP')
test_evaluator = val_evaluator
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=1),
        target='backbone',
    )
]
"""


@pytest.fixture
def written(tmp_path):
    """Writes a plan with a method's ``after`` and reads it."""
    options = dict(counts=(0, 3, 3), size=128, density=20.0)
    for style in ('clear', 'haze'):
        if not (tmp_path / style).exists():
            make_toy_dataset(tmp_path / style, 'dota', styles=[style], **options)
    config = tmp_path / 'oracle.py'
    config.write_text(CONFIG.format(root=f'{tmp_path / "clear"}/'))

    def write(after=WISE, methods=None, tests=None):
        haze = {'test_dataloader.dataset.data_root': f'{tmp_path / "haze"}/'}
        wise = dict(config=str(config), after=after)
        content = dict(
            work_dir=str(tmp_path / 'work'),
            datasets=dict(toy=dict(tests=tests or dict(clear=None, haze=dict(options=haze)))),
            detectors=['oracle'],
            methods=methods or {'wise': wise, 'dp-ft': str(config)},
            measure=dict(cost={}),
        )
        (tmp_path / 'plan.yml').write_text(yaml.safe_dump(content, sort_keys=False))
        return read_plan(tmp_path / 'plan.yml')

    return write


def test_it_uses_the_training_of_the_other_method(written, capsys):
    plan = written()
    wise, training = (RunFolder.of(plan, run) for run in plan.runs)
    assert wise.training.path == training.path and not wise.ready
    for folder in (wise, training):
        (hook,) = folder.config().custom_hooks
        assert hook.keep_probed is True
    wise.make_ready()
    with pytest.raises(ValueError, match='dp-ft/seed0 is not finished|is not finished'):
        single.execute(RunFolder.read(wise.path))

    # As if it had been trained: the detector is best at a reach of zero, 0.75 of the way.
    training.make_ready()
    log = training.path / 'train/20261126_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "epoch": 1, "iter": 1, "step": 1}\n')
    for name, reach in (('probed', 24.0), ('epoch_2', -8.0)):
        state = dict(state_dict=dict(reach=torch.tensor(reach)), meta={})
        torch.save(state, training.path / f'train/{name}.pth')
    Result('toy', 'oracle', 'dp-ft', 0, 'finished', checkpoint='train/epoch_2.pth').save(
        training.path
    )
    assert wise.ready
    result = single.execute(RunFolder.read(wise.path))
    assert result.checkpoint == 'chosen.pth'
    assert result.options['after.interpolate.weight'] == 0.75
    assert result.scores['clear']['mAP'] > 0.9 and set(result.scores) == {'clear', 'haze'}
    chosen = torch.load(wise.path / 'chosen.pth', weights_only=False)
    assert chosen['state_dict'] == dict(reach=0)
    kept = json.loads((wise.path / 'interpolation.json').read_text())
    assert list(kept['scores']) == ['0', '0.5', '0.75', '1']

    # Started again, what is scored is not scored again.
    kept['scores'] = {'0': 1.0, **{w: 0.0 for w in ('0.5', '0.75', '1')}}
    (wise.path / 'interpolation.json').write_text(json.dumps(kept))
    assert single.execute(RunFolder.read(wise.path)).options['after.interpolate.weight'] == 0


def test_a_queue_trains_first(written, monkeypatch):
    plan = written()
    folders = [RunFolder.of(plan, run) for run in plan.runs]
    queue, order = Queue(folders, say=lambda text: None), []

    def start(folder):
        order.append(folder.run.method)
        folder.path.mkdir(parents=True, exist_ok=True)
        Result('toy', 'oracle', folder.run.method, 0, 'finished').save(folder.path)

    monkeypatch.setattr(queue, '_start', start)
    assert queue.run() == 0 and order == ['dp-ft', 'wise']


@pytest.mark.parametrize(
    ('after', 'message'),
    [
        (dict(average={}), 'must be {interpolate: '),
        (
            dict(interpolate=dict(start='first', choose='val')),
            "start must be 'probed', got 'first'",
        ),
        (dict(interpolate=dict(start='probed', choose='test')), 'never chosen on a test set'),
        (dict(interpolate=dict(start='probed', choose='val', weights=[2])), 'from 0 .* to 1 '),
    ],
)
def test_what_is_refused(after, message, written):
    with pytest.raises(ValueError, match=message):
        written(after)


def test_a_training_and_other_pictures_are_needed(written, tmp_path):
    config = str(tmp_path / 'oracle.py')
    with pytest.raises(ValueError, match='no other method trains'):
        written(methods={'wise': dict(config=config, after=WISE)})
    with pytest.raises(ValueError, match="test set 'clear' is the validation set"):
        written(tests=dict(clear=dict(split='val')))
    options = {'val_dataloader.dataset.data_root': f'{tmp_path / "haze"}/'}
    other = dict(interpolate=dict(start='probed', choose=dict(options=options)))
    assert written(other, tests=dict(clear=dict(split='val'))).runs[0].after
