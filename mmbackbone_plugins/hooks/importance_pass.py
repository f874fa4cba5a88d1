"""Estimates an importance inside a run, or finds the one that was estimated before."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from mmengine import dist
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..distortion.anchor import fingerprint_tensors, named_tensors
from ..distortion.importance import estimate_importance, find_kind
from ..distortion.importance_file import Fingerprint, ImportanceFile, fingerprint_data, path_in
from ..utils.branches import check_labelled_loss, has_branches
from ..utils.files import hash_of
from ..utils.sampling import Pristine, images_in_batch
from ..utils.untouched import seed_everything, untouched_attributes, untouched_random_numbers
from ..utils.wrappers import unwrap
from .progress import Progress


class ImportancePass:
    """One estimate for a run, in ``before_train``, of parameters of the target by their names.

    The data are those of the run's training loader, through a loader and a copy of the data set of
    their own. Where the same estimate is in the work dir already, it is read. A ValueError if the
    data set cannot be copied, or the batches have branches and the detector no loss of single
    labelled images, which the kind needs.
    """

    def __init__(
        self,
        runner,
        kind: str,
        names: Sequence[str],
        target: Union[str, Sequence[str]],
        num_batches: int,
        seed: int,
    ) -> None:
        self._runner, self._kind, self._names = runner, kind, names
        self._target, self._seed = target, seed
        self._most = num_batches
        chosen = find_kind(kind)
        if chosen.needs_data:
            self._pristine = Pristine(runner.train_dataloader.dataset)
        if chosen.single_images:
            with untouched_random_numbers():
                first = self._pristine()[0]
            if has_branches(first):
                check_labelled_loss(unwrap(runner.model))

    @property
    def batches(self) -> int:
        """Batches that each process takes: as the authors', images / batch at most."""
        loader = self._runner.train_dataloader
        whole = len(loader.dataset) // (images_in_batch(loader) * dist.get_world_size())
        return min(self._most, max(1, whole))

    def check_file(self, path: Path) -> None:
        """Refuses a file of another configuration or other data; its weights come later."""
        _read(path, self.fingerprint(weights=False), later='weights')

    def run(self, path: Optional[str] = None) -> ImportanceFile:
        """The importance at the present weights: of a file that fits, or estimated."""
        answer: list[Any] = [None, None]
        if dist.is_main_process():  # the others may not see its disk
            own = self.fingerprint()
            try:
                answer = [_read(Path(path), own) if path else self._in_work_dir(own), own]
            except ValueError as error:
                answer = [error, own]
        dist.broadcast_object_list(answer)
        found, own = answer
        if isinstance(found, ValueError):
            raise found
        return found or self._estimate(own)

    def fingerprint(self, weights: bool = True) -> Fingerprint:
        """What an estimate now would be made from."""
        cfg = self._runner.cfg
        settings = dict(
            kind=self._kind,
            names=list(self._names),
            batches=self.batches,
            seed=self._seed,
            processes=dist.get_world_size(),
            model=cfg.get('model'),
            loader=cfg.get('train_dataloader'),
        )
        model = unwrap(self._runner.model)
        return Fingerprint(
            config=hash_of(settings),
            weights=fingerprint_tensors(named_tensors(model)) if weights else '',
            data=fingerprint_data(self._runner.train_dataloader.dataset),
        )

    def _in_work_dir(self, own: Fingerprint) -> Optional[ImportanceFile]:
        folder = Path(self._runner.work_dir)
        for path in sorted(folder.glob(f'importance-{self._kind}-*.pth')):
            try:
                found = ImportanceFile.load(path)
            except ValueError as error:
                aside = path.with_name(f'{path.name}.unreadable')
                path.replace(aside)
                self._say(f'{error}; it is kept as {aside}')
                continue
            wrong = own.differences(found.fingerprint)
            if not wrong:
                self._say(f'reads the importance that was estimated before: {path}')
                return found
            self._say(f'{path} is of other {", ".join(wrong)}, and is left alone')
        return None

    def _estimate(self, own: Fingerprint) -> ImportanceFile:
        loader, batches = self._loader(), self.batches
        images = images_in_batch(loader) if find_kind(self._kind).single_images else 1
        self._say(f'estimates the importance {self._kind!r} from {batches} batches a process')
        model = unwrap(self._runner.model)
        # Losses and layers of detectors write into the message hub, which is no part of the model.
        with untouched_attributes([self._runner.message_hub]):
            tensors = estimate_importance(
                model,
                self._seeded(loader),
                self._kind,
                self._target,
                self._names,
                batches,
                Progress(f'importance {self._kind!r}', batches * images),
                dist.all_reduce if dist.get_world_size() > 1 else None,
            )
        found = ImportanceFile(self._kind, own, tensors)
        if dist.is_main_process():
            path = path_in(Path(self._runner.work_dir), self._kind, own)
            found.save(path)
            self._say(f'importance saved in {path}')
        return found

    def _loader(self) -> DataLoader:
        settings = self._runner.cfg.get('train_dataloader')
        if not settings:
            raise ValueError(
                'DistortionRegularizerHook: the runner has no train_dataloader in its config, so '
                'that no second loader can be built; build it with Runner.from_cfg'
            )
        # As something to call: build_dataloader would copy a data set, annotations included.
        own = {**settings, 'dataset': dict(type=lambda: self._pristine())}
        own.pop('num_batch_per_epoch', None)
        own['persistent_workers'] = False
        return Runner.build_dataloader(own, seed=self._seed)

    def _seeded(self, loader: DataLoader) -> Iterator[Any]:
        """Batches under random numbers of their own, different on each process."""
        seed_everything(self._seed + dist.get_rank())
        yield from loader

    def _say(self, text: str) -> None:
        print_log(f'DistortionRegularizerHook: {text}', logger='current')


def _read(path: Path, own: Fingerprint, later: str = '') -> ImportanceFile:
    """Reads a file of the same fingerprint, but for a part that is checked later."""
    found = ImportanceFile.load(path)
    wrong = [part for part in own.differences(found.fingerprint) if part != later]
    if wrong:
        raise ValueError(
            f'importance_file={str(path)!r} was estimated from other {", ".join(wrong)} than '
            "this run's (config: kind, parameters, number of batches, seed, model, loader, "
            'number of processes); leave importance_file out to estimate anew'
        )
    return found
