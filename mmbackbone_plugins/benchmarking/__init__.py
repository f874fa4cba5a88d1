"""One plan, many runs: methods x detectors x data sets x seeds, and a report of them."""

from .results import Result, load_results

__all__ = ['Result', 'load_results']
