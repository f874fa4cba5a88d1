"""Semi-supervised detectors: batches of several branches, and a detector inside another."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import nn

LABELLED = 'sup'  # the branch of labelled images in MMDetection


def has_branches(data: Any) -> bool:
    """Whether a sample or a batch has its images by branch, as ``MultiBranch`` packs them."""
    return isinstance(data, Mapping) and isinstance(data.get('inputs'), Mapping)


def is_labelled(sample: Mapping[str, Any]) -> bool:
    """Whether a sample with branches is one of the labelled images."""
    return sample['inputs'].get(LABELLED) is not None


def only_labelled(batch: Any) -> Any:
    """A collated batch without its other branches, and without the gaps where those have images."""
    if not has_branches(batch):
        return batch
    return {
        key: {LABELLED: [value for value in branches.get(LABELLED, ()) if value is not None]}
        for key, branches in batch.items()
    }


def losses_of(model: nn.Module, data: Any) -> dict[str, Any]:
    """Losses of a preprocessed batch; of labelled images alone where there are no others."""
    if has_branches(data) and set(data['inputs']) == {LABELLED}:
        check_labelled_loss(model)
        inputs, samples = data['inputs'][LABELLED], data['data_samples'][LABELLED]
        return cast(Any, model).loss_by_gt_instances(inputs, samples)
    return cast(Any, model)._run_forward(data, mode='loss')


def check_labelled_loss(model: nn.Module) -> None:
    """Raises a ValueError if a detector has no loss of labelled images alone."""
    if not hasattr(model, 'loss_by_gt_instances'):
        raise ValueError(
            f'{type(model).__name__} takes batches of several branches and has no '
            "'loss_by_gt_instances', the loss of labelled images alone"
        )


def detector_around(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """The innermost detector that has all the layers: the student of a semi-supervised one."""
    found = set()
    for layer in layers:
        path = layer.rpartition('.')[0]
        while path and not hasattr(model.get_submodule(path), 'extract_feat'):
            path = path.rpartition('.')[0]
        found.add(path)
    return model.get_submodule(found.pop()) if len(found) == 1 else model
