"""Scalars of the log that can leave it again."""

from collections.abc import Iterable, Mapping


class Scalars:
    """Scalars ``<prefix>/<name>`` of the training log.

    mmengine's logger prints the last value of every scalar for ever, which for a stage that has
    been frozen since would be a number that nobody has measured.
    """

    def __init__(self, runner, prefix: str) -> None:
        self._hub = runner.message_hub
        self._prefix = f'train/{prefix}/'

    @property
    def names(self) -> list[str]:
        """Names, without the prefix, of the scalars that the log shows now."""
        start = len(self._prefix)
        return [key[start:] for key in self._hub.log_scalars if key.startswith(self._prefix)]

    def update(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._hub.update_scalar(self._prefix + name, value)

    def remove(self, names: Iterable[str]) -> None:
        """Takes scalars out of the log; those that are not there are no error."""
        for name in names:
            self._hub.log_scalars.pop(self._prefix + name, None)
            # Else a resumed run warns that a key it was to resume is missing.
            getattr(self._hub, '_resumed_keys', {}).pop(self._prefix + name, None)


def name_of_hook(runner, hook, first: str) -> str:
    """What a hook with a ``target`` calls itself in scalars, files and checkpoints.

    ``first`` for the first hook of its kind in a run; others add their target to it.
    """
    if next(h for h in runner.hooks if type(h) is type(hook)) is hook:
        return first
    targets = [hook.target] if isinstance(hook.target, str) else hook.target
    return f'{first}-' + '+'.join(targets)
