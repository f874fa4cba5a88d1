"""Train a small oriented detector with Dynamic Backbone Freezing on drawn scenes, on a CPU.

Draws the scenes, trains for a few minutes from ImageNet weights, says how well the detector does
and what freezing saved, and writes pictures of the boxes and of the training curves into
work_dirs/demo/. Needs no GPU, no data set and no network; the weights come with a package.
"""

import argparse
import contextlib
import logging
import os
import shlex
import sys
import time
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import make_parser  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/demo/rotated-retinanet_effnet-lite0_fpn_dbf-rho2_toy-dota.py'
FULL = 'configs/demo/rotated-retinanet_effnet-lite0_fpn_full_toy-dota.py'
DATA_ROOT = 'data/toy_demo'
WEIGHTS = Path('data/weights/effnet-lite0.pth')  # as the configs say
DATA = dict(
    fmt='dota',
    counts=(320, 40, 0),
    size=256,
    seed=0,
    classes=('plane', 'ship', 'storage-tank', 'tennis-court', 'roundabout'),
    density=16.0,  # the more objects in a scene, the fewer steps it takes to learn them
)
METRIC = 'dota/mAP'
ENOUGH = 0.6  # a run that learned nothing must not look like a success
DRAWN_ABOVE = 0.3  # score from which a prediction is drawn


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('--data-root', default=DATA_ROOT, help='where the scenes are drawn')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='logs, weights, pictures')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights and order of images')
    return parser.parse_args(argv)


def draw_data(root: str) -> None:
    """Draws the scenes, unless they are there already."""
    from mmengine import ProgressBar

    from mmbackbone_plugins.lab.toy import make_toy_dataset, read_manifest, toy_settings

    manifest = read_manifest(root)
    if manifest is not None and manifest['settings'] == toy_settings(**DATA):
        print(f'[1/3] the scenes in {root} are drawn already')
        return
    print(f'[1/3] drawing {sum(DATA["counts"])} scenes into {root}')
    bar = ProgressBar(sum(DATA['counts']), start=False, file=sys.stdout)
    make_toy_dataset(
        root,
        **DATA,
        workers=2,
        overwrite=root == DATA_ROOT,  # somebody's own set stays as it is
        progress=lambda done, total: bar.update() if done else bar.start(),
    )
    print()


def read_config(args: argparse.Namespace):
    """Reads the config and points it at the scenes."""
    from mmbackbone_plugins.lab import launch

    cfg = launch.load_config(str(ROOT / CONFIG), work_dir=args.work_dir)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = args.data_root
    cfg.randomness = dict(seed=args.seed)
    cfg.custom_hooks.append(dict(type='TrainingCostHook'))
    launch.check_data(cfg)
    return cfg


def train(cfg, screen):
    """Trains a config, shows its progress on the screen, and returns the runner."""
    import torch

    from mmbackbone_plugins.lab import launch

    # Two threads save a third of a step on idle cores, and cost three steps where another process
    # wants one of the two.
    torch.set_num_threads(1)
    runner = launch.build_runner(cfg)
    shown = [h for h in runner.logger.handlers if type(h) is logging.StreamHandler]
    for handler in shown:
        handler.setStream(screen)
        handler.addFilter(is_progress)
    runner.train()
    for handler in shown:
        handler.setStream(sys.stdout)
    return runner


@contextlib.contextmanager
def aside(path: Path):
    """Sends what the stack prints into a file, and yields a stream to the screen.

    mmengine prints the environment and the whole config; each of the processes that DOTAMetric
    starts prints what it could not import. That would bury what the demo has to say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    screen = os.fdopen(os.dup(1), 'w')
    with path.open('w', encoding='utf-8') as file:
        os.dup2(file.fileno(), 1)
    try:
        yield screen
    finally:
        sys.stdout.flush()
        screen.flush()
        os.dup2(screen.fileno(), 1)
        screen.close()


def is_progress(record: logging.LogRecord) -> bool:
    """Lets through to the screen what a reader of the demo wants to see."""
    text = record.getMessage()
    if 'Failed to search registry' in text:  # mmrotate has no optimizer wrappers of its own
        return False
    shown = 'Epoch(' in text or 'FreezingSchedulerHook' in text
    return shown or record.levelno >= logging.WARNING


def draw_predictions(runner, path: Path) -> None:
    """Draws labels and predictions of four validation pictures."""
    import mmcv
    import numpy as np

    from mmbackbone_plugins.lab.benchmarking.detections import look_at_image
    from mmbackbone_plugins.lab.visualization import Boxes, Sample, compare_boxes

    dataset = runner.val_dataloader.dataset
    # The pictures with the most kinds of objects, for they show the most.
    kinds = [len(set(dataset.get_cat_ids(i))) for i in range(len(dataset))]
    samples = []
    for index in sorted(np.argsort(kinds, kind='stable')[::-1][:4]):
        look = look_at_image(runner.model, dataset, int(index))
        image = mmcv.imread(look['path'], channel_order='rgb')
        boxes = Boxes.of(look['truth']), Boxes.of(look['found'], DRAWN_ABOVE)
        samples.append(Sample(image, *boxes))
    title = f'Validation scenes: labels and predictions above {DRAWN_ABOVE}'
    compare_boxes(path, samples, dataset.metainfo['classes'], title)


def report(runner, folder: Path) -> float:
    """Writes the pictures, prints the table, and returns the last mAP."""
    from mmbackbone_plugins.lab import visualization as vis

    run = vis.read_run(folder)
    trainable = vis.trainable_by_epoch(run.train)
    scores = {row['step']: row[METRIC] for row in run.val if METRIC in row}
    title = 'Dynamic Backbone Freezing on drawn scenes (rho = 2)'
    vis.plot_runs(folder / 'curves.png', [run], title)
    draw_predictions(runner, folder / 'predictions.png')
    print('\n epoch  backbone   mAP')
    for epoch in range(1, runner.max_epochs + 1):
        state = 'trained' if trainable.get(epoch, 1) else 'frozen'
        score = f'{scores[epoch]:.3f}' if epoch in scores else '-'
        print(f' {epoch:5d}  {state:8s}  {score:>5s}')
    return scores.get(runner.max_epochs, 0.0)


def saving(ledger) -> str:
    """What freezing has saved of full fine-tuning on the same batches, in a sentence."""
    from mmbackbone_plugins.cost import flops_text

    ours, full = ledger.training_flops, ledger.full_training_flops
    text = 'torch cannot count FLOPs here'
    if ours is not None and full:
        text = f'{1 - ours / full:.0%} of the FLOPs of full fine-tuning were saved'
        text += f' ({flops_text(ours)} instead of {flops_text(full)})'
    paced = ledger.phases.get('full')
    if paced is not None and paced.steps:
        took = ledger.totals()['step_seconds']
        whole = paced.step_seconds / paced.steps * ledger.steps
        share = f'{1 - took / whole:.0%}' if took < whole else 'nothing (is the machine busy?)'
        text += f', and {share} of the time of its steps ({took:.0f} s instead of {whole:.0f} s, '
        text += 'at the pace of the epochs that trained the backbone)'
    return text


def next_command(data_root: str) -> str:
    """Full fine-tuning on the same scenes, as a shell takes it where the demo was started."""
    interpreter = Path(sys.executable)
    here = Path.cwd()
    if here in interpreter.parents:  # as make has called it; no environment need be active
        interpreter = interpreter.relative_to(here)
    words = [str(interpreter), os.path.relpath(ROOT / 'tools/train.py', here)]
    words.append(os.path.relpath(ROOT / FULL, here))
    if Path(data_root) != Path(DATA_ROOT):
        loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
        words += ['--cfg-options', *(f'{name}.dataset.data_root={data_root}' for name in loaders)]
    # Operators that were compiled for the CPU only fail on a GPU: make hides it.
    hidden = 'CUDA_VISIBLE_DEVICES= ' if os.environ.get('CUDA_VISIBLE_DEVICES') == '' else ''
    return hidden + shlex.join(words)


def main(argv=None) -> int:
    args = parse_args(argv)
    started = time.time()
    # mmrotate says at every clip of a rotated box that it does not clip.
    warnings.filterwarnings('ignore', message='The `clip` function does nothing')
    folder = Path(args.work_dir)
    try:
        from mmbackbone_plugins import compat
        from mmbackbone_plugins.cost import Ledger
        from mmbackbone_plugins.lab import console, launch
        from mmbackbone_plugins.lab.imagenet import save_efficientnet_lite
        from mmbackbone_plugins.lab.visualization import pyplot

        console.adapt()
        # What the end needs should be missed now, not after the training.
        pyplot()
        compat.check_operators()
        launch.check_work_dir(folder)
        if not WEIGHTS.exists():
            save_efficientnet_lite('lite0', WEIGHTS)
        draw_data(args.data_root)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'[2/3] training {Path(CONFIG).stem}', flush=True)
    with aside(folder / 'console.log') as screen:
        cfg = read_config(args)
        runner = train(cfg, screen)
    print('[3/3] drawing pictures')
    score = report(runner, folder)
    epochs = f'{runner.max_epochs} epochs from ImageNet weights'
    print(f'\nmAP {score:.3f} (IoU 0.5) after {epochs}, the backbone frozen in every other one:')
    print(f'  {saving(Ledger.read(folder))}')
    print(f'\ndone in {time.time() - started:.0f} s. Look at:')
    print(f'  {folder / "predictions.png"}  (labels above, predictions below)')
    print(f'  {folder / "curves.png"}  (loss and mAP; the backbone is frozen in the grey epochs)')
    print(f'  {runner.log_dir}  (log, scalars, the full config)')
    print('Next, full fine-tuning on the same scenes, to compare:')
    print(f'  {next_command(args.data_root)}\nOn DOTA or data of your own: docs/quickstart.md')
    if score < ENOUGH:
        print(
            f'error: the last validation mAP is {score:.3f}, below {ENOUGH}: the detector did not '
            'learn; please report it with the log',
            file=sys.stderr,
        )
        return 1
    return 0


# The guard matters: the process pool of DOTAMetric spawns, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
