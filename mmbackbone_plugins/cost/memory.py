"""Peak memory of a span of work: of torch's allocator on a GPU, of the process elsewhere."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Optional

import torch

DEVICE = 'device memory allocated by torch'
PROCESS = 'resident memory of the process'
PROCESS_SO_FAR = 'resident memory of the process since its start'
_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')


class PeakMemory:
    """Reads, and sets back where it may (``reset``), the highest amount of memory in use.

    On CUDA that is ``torch.cuda.max_memory_allocated``, to be read at every step, for mmengine sets
    the same counter back at every line of its log. On a CPU it is the resident set of the process;
    Linux lets it set its high-water mark back, elsewhere the number is the highest since it began.
    The C library may keep what has been freed: a phase after one with more memory looks as large.
    """

    def __init__(self, device: torch.device, reset: bool = True) -> None:
        self._device = device
        self._cuda = device.type == 'cuda'
        self._reset = reset
        self.kind: Optional[str] = DEVICE if self._cuda else None
        self.every_step = self._cuda  # others set the counter back
        if not self._cuda and self.read() is not None:
            self.kind = PROCESS if reset and _STATUS.exists() else PROCESS_SO_FAR

    def reset(self) -> None:
        """Begins anew, where that is possible and allowed."""
        if not self._reset:
            return
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _CLEAR.write_text('5')  # the high-water mark of the resident set; see man 5 proc
        except OSError:
            self.kind = PROCESS_SO_FAR if self.kind else None

    def read(self) -> Optional[int]:
        """The peak in bytes; None where there is no way to know."""
        if self._cuda:
            return torch.cuda.max_memory_allocated(self._device)
        with suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith('VmHWM:'):
                    return int(line.split()[1]) * 1024
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == 'darwin' else peak * 1024
