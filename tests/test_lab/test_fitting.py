"""The memory that steps are predicted to take, against what real ones take."""

from contextlib import nullcontext
from pathlib import Path

import mmdet
import pytest
import rig
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmbackbone_plugins import FrozenForward
from mmbackbone_plugins.lab.fitting import fitting_batches, peak_bytes
from mmbackbone_plugins.lab.planning import preview_run


def test_the_peak_is_of_one_call_whatever_others_have_kept():
    kept = []

    def call():
        kept.append(torch.ones(500, 1000))
        torch.ones(100, 1000)

    for _ in range(3):
        assert peak_bytes(call, 'cpu') == 2_400_000
        kept.clear()


def real_peak(config, trains, images, side, how):
    """Bytes of a model, its optimizer and whatever a whole training step takes."""
    preview = preview_run(config, shape=(side, side))
    model = preview.model.train()
    wrapper = build_optim_wrapper(model, preview.cfg.optim_wrapper)
    shapes = dict(image_shapes=(3, side, side), num_classes=2)

    def step(images):
        data = demo_mm_inputs(images, num_items=[16] * images, **shapes)
        model.train_step(data, wrapper)

    step(1)  # the optimizer's state
    preview.freezer.apply(preview.freezer.stage_map.names if trains == 'all' else ())
    preview.freezer.apply_modes()
    state = (v for one in wrapper.optimizer.state.values() for v in one.values())
    held = sum(t.nbytes for t in (*model.parameters(), *model.buffers(), *state) if t.dim())
    other = nullcontext()
    if how != 'exact':
        other = FrozenForward(model, ['backbone'], how, print)

    def whole():
        with other:  # makes its weights
            step(images)

    return held + peak_bytes(whole, 'cpu')


def real_model(name):
    path = Path(mmdet.__file__).parent / f'.mim/configs/_base_/models/{name}_r50_fpn.py'
    model = Config.fromfile(str(path)).model
    model.backbone.init_cfg = None
    return model


@pytest.mark.parametrize('how', ['exact', 'folded'])
@pytest.mark.parametrize(
    'name, side, batch, megabytes',
    [
        ('tiny', 64, 4, 12),
        pytest.param('retinanet', 128, 2, 530, marks=pytest.mark.slow),
        pytest.param('faster-rcnn', 128, 2, 640, marks=pytest.mark.slow),
    ],
)
def test_the_batch_that_fits_does_and_the_next_does_not(
    name, side, batch, megabytes, how, tmp_path
):
    model = rig.detector() if name == 'tiny' else real_model(name)
    path = tmp_path / 'config.py'
    optimizer = dict(type='SGD', lr=1e-4, momentum=0.9)
    Config(
        dict(
            model=model,
            train_dataloader=dict(batch_size=2, dataset=dict(type='CocoDataset', pipeline=[])),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
            optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer),
            custom_imports=dict(imports=['mmbackbone_plugins'], allow_failed_imports=False),
            custom_hooks=[rig.dbf(2, frozen_forward=how)],
            default_scope='mmdet',
        )
    ).dump(str(path))
    preview = preview_run(str(path), shape=(side, side))
    limit = 1e6 * megabytes
    rows = fitting_batches(preview, preview.freeze_plan, limit, batch)
    assert [row['trains'] for row in rows] == ['all', 'none']
    for row in rows:
        for images in (row['batch'], row['batch'] + 1):
            predicted = row['fixed_bytes'] + images * row['bytes_per_image']
            real = real_peak(str(path), row['trains'], images, side, how)
            print(
                f'{name} {how} {row["trains"]} batch {images}: {predicted / 1e6:.1f} MB '
                f'predicted, {real / 1e6:.1f} measured, {predicted / real - 1:+.1%}'
            )
            assert predicted == pytest.approx(real, rel=0.05)
