"""The report of a benchmark: one HTML file, Markdown with figures, and all numbers unrounded."""

from .groups import RunKey, Summary
from .summary import summarize
from .writing import write_report

__all__ = ['RunKey', 'Summary', 'summarize', 'write_report']
