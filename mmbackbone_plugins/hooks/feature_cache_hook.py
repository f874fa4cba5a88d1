"""The hook that keeps the features of a frozen backbone."""

import os
import pickle
import time
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from ..distortion.anchor import fingerprint_tensors, named_tensors
from ..freezing.feature_cache import FeatureCache, Waiting, restless
from ..freezing.feature_store import FolderStore, Key, MemoryStore, Record, Store
from ..utils.checks import choice, is_number
from ..utils.files import hash_of
from ..utils.names import arguments_by_name
from ..utils.sampling import images_in_batch
from ..utils.views import View, ViewLoader
from ..utils.wrappers import unwrap
from ..version import __version__
from .cache_table import cache_table
from .cacheable import check_frozen, check_run, check_views, probe
from .checks import check_count, check_path, refuse_second
from .freezing_scheduler_hook import FreezingSchedulerHook
from .iterations import read_on
from .training_set import what_trains

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


@HOOKS.register_module()
@arguments_by_name()
class FeatureCacheHook(Hook):
    """Computes the features of a frozen backbone once for every view of an image.

    Each image has ``views`` augmented versions, for ever the same; epoch ``e`` uses version ``e``
    modulo ``views`` (loops of iterations count passes over the data). The first time the backbone
    computes features, which are kept with the data sample; later, while its weights are the same,
    they are read, and the image is neither loaded nor augmented. So a run equals one without a
    store (``storage=None``) on the same views, at ``'float32'`` bit for bit.

    What is kept belongs to the bits of the weights, the configs of model and pipeline, the image's
    file and annotations, and the versions of this package and torch. Once the backbone trains, it
    is dropped; the next frozen span begins anew. Where reading takes longer than computing, the
    hook stops reading and says so.

    Source: our own proposal; Proper Reuse (arXiv 2204.00484) trains decoders on frozen backbones.

    Args:
        views: Augmented versions of an image.
        storage: ``'ram'``: in the memory of each process; ``'disk'``: in files; None: nowhere.
        dtype: ``'float32'`` or ``'bfloat16'``, in which single-precision features are kept.
        budget_gb: Gigabytes (1e9 bytes) that may be kept; what does not fit is computed.
        folder: Where the files go. It is kept, and may be shared by ranks and runs. By default
            ``feature_cache`` in the work dir, which goes at the end of the run.
        seed: Seed of the views, apart from the run's: runs of several seeds can share a folder.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if the backbone is
            not in eval mode while it is frozen, images differ in size, or a sample depends on
            anything but its image and random numbers.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [
        ...     dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone')),
        ...     dict(type='FeatureCacheHook', views=4, storage='disk', budget_gb=20),
        ... ]
    """

    # After all that decides what trains, and that looks at the data set; before RandomStateHook.
    priority = 'VERY_LOW'

    def __init__(
        self,
        views: int = 4,
        storage: Optional[str] = 'ram',
        dtype: str = 'float32',
        budget_gb: float = 4,
        folder: Optional[str] = None,
        seed: int = 0,
    ) -> None:
        self.views = check_count('views', views)
        self.storage = choice('storage', storage, ('ram', 'disk', None))
        self.dtype = _DTYPES[choice('dtype', dtype, _DTYPES)]
        if not is_number(budget_gb) or budget_gb <= 0:
            raise ValueError(f'budget_gb must be a positive number, got {budget_gb!r}')
        self.budget = int(budget_gb * 1e9)
        self.folder = check_path('folder', folder)
        if self.folder is not None and storage != 'disk':
            raise ValueError(f"folder={folder!r} needs storage='disk', got {storage!r}")
        self.seed = check_count('seed', seed, 0)
        self.cache: Optional[FeatureCache] = None
        # Of the batch that is trained on: images whose features were read, and their bytes.
        self.images_read = self.bytes_read = 0
        self._views: Optional[ViewLoader] = None
        self._reads = False
        self._filled: Any = None
        self._begun: Any = None  # what the weights were when the store was told of them
        self._waiting: Optional[list[Waiting]] = None
        self._entries: dict[int, str] = {}
        self._mark = 0.0

    def before_train(self, runner) -> None:
        """Takes the training loader over, and says what will be kept."""
        refuse_second(runner, self)
        model: Any = unwrap(runner.model)
        check_run(runner, model)
        check_frozen(runner, model)
        self._loader = runner.train_dataloader
        self._inner = self._loader.dataset
        self._views = ViewLoader(self._loader, self.views, self.seed, get_world_size(), self._find)
        found = probe(runner, model, check_views(self._loader, self._views))
        store = self._store(runner)
        self._read_levels, self._shape = found.read, found.shape
        self._tensors = named_tensors(model.backbone)
        self._restless = list(restless(model.backbone).values())
        self._settings = self._describe(runner, model)
        several = images_in_batch(self._loader) > 1
        self.cache = FeatureCache(model.backbone, store, found.read, self.dtype, several)
        self._reads = store is not None
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            read_on(runner.train_loop, self._views.endless(runner.iter), runner.iter)
        self._say(cache_table(runner, found, store, len(self._inner), self.views, self.dtype))

    def before_train_epoch(self, runner) -> None:
        """Begins an epoch's views."""
        if self._views is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._views.start(runner.epoch)
        self._look(runner, modes=False)  # the loop sets them after this
        if self.cache is not None and self.cache.store is not None and self._begun is not None:
            self.cache.store.refresh()
        self._mark = time.perf_counter()

    def fill(self, runner, data_batch: Any) -> None:
        """Completes a batch: what was kept is read, or loaded if that is of no use.

        Called by whoever needs the images, data samples or :attr:`images_read` of a batch before
        this hook's own ``before_train_iter``; once for a batch.
        """
        if self.cache is None or self._views is None or data_batch is self._filled:
            return
        self._filled = data_batch
        frozen = self._look(runner)
        waiting = []
        for i, view in enumerate(data_batch.pop('view')):
            record = self._read(view) if frozen else None
            if view.kept is not None and record is None:  # loaded by nobody
                for name, value in self._views.dataset.load(view).items():
                    data_batch[name][i] = value
            if record is not None:
                shape, dtype = record.image
                data_batch['inputs'][i] = torch.zeros((), dtype=dtype).expand(shape)
                data_batch['data_samples'][i] = pickle.loads(record.sample)
            image = data_batch['inputs'][i]
            if tuple(image.shape) != self._shape:
                raise ValueError(
                    f'FeatureCacheHook: train_dataloader gave an image of shape '
                    f'{tuple(image.shape)} after one of {self._shape}; views can be kept of images '
                    'of one size only, such as tiles'
                )
            keeps = frozen and self._reads and record is None
            sample = pickle.dumps(data_batch['data_samples'][i]) if keeps else b''
            waiting.append(Waiting(view.key, record, (tuple(image.shape), image.dtype), sample))
        records = [w.record for w in waiting if w.record is not None]
        self.images_read, self.bytes_read = len(records), sum(r.nbytes for r in records)
        self._waiting = waiting if frozen else None

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Lets the backbone read, if it is frozen."""
        self.fill(runner, data_batch)
        self._filled = None
        if self.cache is not None and self._waiting is not None:
            self.cache.wait(self._waiting, time.perf_counter() - self._mark)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """The backbone goes forward by itself, in whatever is not a training step."""
        if self.cache is None:
            return
        if not self.cache.leave() and self._waiting is not None:
            raise RuntimeError(
                'FeatureCacheHook: the backbone was not called in a step; its layers may be called '
                'one by one, of which a cache knows nothing'
            )
        slower = self.cache.slower if self._reads else None
        if slower is not None:
            read, computed = slower
            self._reads = False
            self._say(
                f'reading a batch takes {read:.3f} s, computing it {computed:.3f} s: from here on '
                'everything is computed'
            )
        self._mark = time.perf_counter()

    def after_train(self, runner) -> None:
        """Says what was read."""
        if self.cache is not None:
            images, store = self.cache.images, self.cache.store
            if store is not None:
                kept = f'; {store.used / 1e9:.2f} GB kept'
                self._say(f'{images["computed"]:,} views computed, {images["read"]:,} read{kept}')
                store.close()
            self.cache = None

    def after_run(self, runner) -> None:
        """Leaves the loader as it was found, after RandomStateHook has done so."""
        if self._views is not None:
            self._views.restore()
            self._views = None

    # -- what is kept ----------------------------------------------------------------------------

    def _store(self, runner) -> Optional[Store]:
        if self.storage is None:
            return None
        if self.storage == 'ram':
            return MemoryStore(self.budget)
        folder = self.folder or os.path.join(runner.work_dir, 'feature_cache')
        return FolderStore(
            Path(folder), self.budget, self._entry, self.folder is None, get_world_size(), self._say
        )

    def _find(self, key: Key) -> Any:
        """Where a view is kept, for the loader; nothing while the backbone trains."""
        store = self.cache.store if self.cache is not None else None
        return store.find(key) if store and self._reads and self._begun is not None else None

    def _read(self, view: View) -> Optional[Record]:
        if view.kept is None or self.cache is None or self.cache.store is None:
            return None
        return self.cache.store.read(view.kept)

    def _look(self, runner, modes: bool = True) -> bool:
        """Whether the backbone is frozen; the store is told if its weights are others."""
        trains = any(t.requires_grad for t in self._tensors.values())
        if trains or (modes and any(m.training for m in self._restless)):
            self._begun = None
            return False
        now = [(t.data_ptr(), t._version) for t in self._tensors.values()]
        if now != self._begun and self.cache is not None:
            self._begun = now
            if self.cache.store is not None:
                weights = fingerprint_tensors(self._tensors)
                fingerprint = hash_of([weights, self._settings])
                begins = what_trains(runner).begins
                by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
                time_ = runner.epoch if by_epoch else runner.iter
                # What weights of this run alone have made is of use to no other.
                self.cache.store.begin(fingerprint, begins is None or time_ < begins)
        return True

    def _describe(self, runner, model: Any) -> list[Any]:
        """What features depend on besides weights and images."""
        rulers = [h for h in runner.hooks if isinstance(h, FreezingSchedulerHook)]
        wrapper = runner.cfg.get('optim_wrapper', {})
        dataset = (runner.cfg.get('train_dataloader') or {}).get('dataset')
        whole = runner.cfg.get('model')  # all may matter, if the model makes its own backbone
        if self.folder and not (isinstance(dataset, dict) and isinstance(whole, dict)):
            raise ValueError(
                f'FeatureCacheHook: folder={self.folder!r} is for runs with a config, which tells '
                'them what of it is theirs; build the runner with Runner.from_cfg, or leave it out'
            )
        whole = whole or {}
        return [
            [whole.get('backbone', whole), whole.get('data_preprocessor')],
            self._read_levels,
            fingerprint_tensors(named_tensors(model.data_preprocessor)),
            dataset,
            [wrapper.get('type'), wrapper.get('dtype')],
            [(h.frozen_forward, h.frozen_compile) for h in rulers],
            [self.seed, str(self.dtype), next(iter(self._tensors.values())).device.type],
            [__version__, torch.__version__],
        ]

    def _entry(self, index: int) -> str:
        """Names what the data set has at a place."""
        if index not in self._entries:
            info = self._inner.get_data_info(index)
            paths = [v for v in info.values() if isinstance(v, str) and os.path.isfile(v)]
            files = [(s.st_size, s.st_mtime_ns) for s in map(os.stat, paths)]
            self._entries[index] = hash_of([_plain(info), files])
        return self._entries[index]

    def _say(self, text: str) -> None:
        print_log(f'FeatureCacheHook: {text}', logger='current')


def _plain(value: Any) -> Any:
    """Arrays and boxes as lists, whose text has all their numbers."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.tolist() if hasattr(value, 'tolist') else value
