"""The hook that makes a resumed run equal an uninterrupted one though both draw random numbers."""

import logging
from typing import Any, Optional

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from ..utils.names import arguments_by_name
from ..utils.seeded_loader import EPOCH, STEP, SeededLoader, hidden_state, seed_of
from ..utils.untouched import seed_everything
from .checkpoint_keys import RANDOM_KEY
from .checks import refuse_second
from .iterations import read_on


@HOOKS.register_module()
@arguments_by_name()
class RandomStateHook(Hook):
    """Makes every random number of a training a function of its seed and its place in the run.

    A run that is stopped and resumed then equals one that was not, bit for bit, with random flips
    and crops, mosaics, dropout, drop path and the random samplers of detectors, in loops of epochs
    and of iterations. A checkpoint in the middle of an epoch resumes there: the loop does not begin
    the epoch anew.

    The numbers of a sample are a function of seed, epoch, its place in the epoch and the rank;
    those of a step (the model's) of seed, iteration and rank. So the number of workers, and whether
    they persist, does not matter, and workers that are started anew each epoch do not repeat the
    augmentations of the epoch before, as they do without this hook. A fresh run draws other numbers
    than without the hook.

    What keeps samples from one to the next (``CachedMosaic``, ``CachedMixUp``) begins empty in a
    resumed run; such parts are named in a warning. While the run trains, ``dataset`` of the
    training loader is a thin proxy of the data set.

    Raises:
        ValueError: In ``before_train``, if there is a second hook of this kind.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='RandomStateHook')]
    """

    # The last to act before the loop reads samples and the model steps.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._resumed: Optional[dict[str, Any]] = None
        self._seed = 0
        self._past = 0  # batches of this epoch that were trained on before the run was resumed
        self._start = 0  # iteration at which this epoch began
        self._loader: Optional[SeededLoader] = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Adds what the numbers depend on."""
        meta = checkpoint['meta']
        past = meta['iter'] - self._start if meta['epoch'] == runner.epoch else 0
        checkpoint[RANDOM_KEY] = dict(self._dependence(runner, self._seed), past=past)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remembers what they depended on."""
        self._resumed = checkpoint.get(RANDOM_KEY)

    def before_train(self, runner) -> None:
        """Takes the training loader over, at the place where the run is."""
        refuse_second(runner, self)
        loop, loader = runner.train_loop, runner.train_dataloader
        self._seed = runner.seed
        if runner.iter:
            self._check_resumed(runner)
        for sampler in (loader.batch_sampler, loader.sampler):
            if getattr(sampler, 'seed', None) is not None:
                sampler.seed = self._seed
        hidden = hidden_state(loader)
        if hidden:
            self._say(
                f'{", ".join(hidden)} of train_dataloader keeps something from one sample to the '
                'next that no checkpoint has; a resumed run draws other samples there'
            )
        self._loader = SeededLoader(loader, self._seed, get_rank())
        if isinstance(loop, IterBasedTrainLoop):
            read_on(loop, self._loader.endless(runner.iter), runner.iter)

    def before_train_epoch(self, runner) -> None:
        """Begins an epoch's numbers; of one that was cut, after what was trained on before."""
        past, self._past = self._past, 0
        self._start = runner.iter - past
        if self._loader is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._loader.start(runner.epoch, past)
        seed_everything(seed_of(self._seed, EPOCH, runner.epoch, get_rank()))

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begins a step's numbers."""
        seed_everything(seed_of(self._seed, STEP, runner.iter, get_rank()))

    def after_train_epoch(self, runner) -> None:
        """What is saved from here on, as by ``save_best`` after validation, is past the epoch."""
        self._start = runner.iter

    def after_train(self, runner) -> None:
        """Leaves the loader as it was found."""
        if self._loader is not None:
            self._loader.restore()
            self._loader = None

    def _check_resumed(self, runner) -> None:
        """Takes the seed of the run that is resumed, and says what is not as it was."""
        before = self._resumed
        if before is None:
            self._say(
                'the checkpoint was written without this hook: random numbers before it cannot be '
                'repeated; from here on they are a function of the seed'
            )
            return
        self._seed, self._past = before['seed'], before['past']
        for name, now in self._dependence(runner, self._seed).items():
            if before[name] != now:
                self._say(
                    f'the run that is resumed had {name} = {before[name]}, this one has {now}: it '
                    'goes on, with other samples in its batches than an uninterrupted run'
                )

    @staticmethod
    def _dependence(runner, seed: int) -> dict[str, int]:
        size = getattr(runner.train_dataloader.batch_sampler, 'batch_size', 0)
        return dict(seed=seed, processes=get_world_size(), batch_size=size)

    @staticmethod
    def _say(text: str) -> None:
        print_log(f'RandomStateHook: {text}', logger='current', level=logging.WARNING)
