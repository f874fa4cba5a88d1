"""What a report is made of, whatever it is written in; the templates write each kind."""

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Union


class Entry(NamedTuple):
    """A cell of a table; ``below`` is a second, smaller line."""

    text: str
    below: str = ''


class Table(NamedTuple):
    """A table; the first entry of a row is its name."""

    title: str
    header: list[str]
    rows: list[list[Entry]]
    footnotes: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A picture file, its path from the report's folder; ``alt`` says what is to be seen."""

    file: str
    alt: str
    label: str = ''


@dataclass
class Figure:
    """Pictures with one caption; without pictures the caption says why there are none."""

    title: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)
    columns: Optional[int] = None  # pictures in a row where there is room; None: as many as fit
    legend: Optional[Picture] = None  # explains all others


class Listing(NamedTuple):
    """Text as it is, commands or messages, under a title that may be empty."""

    title: str
    text: str


class Bullets(NamedTuple):
    """Sentences, and what they are about; empty where the heading says it."""

    items: list[str]
    title: str = ''


class Section(NamedTuple):
    """A part of the report under a heading; a page shows a folded one closed."""

    title: str
    blocks: list[Union[Table, Figure, Listing, Bullets]]
    folded: bool = False


class Content(NamedTuple):
    """The whole report; ``status`` says how many runs it covers, ``facts`` are names and values."""

    title: str
    status: str
    complete: bool
    facts: list[tuple[str, str]]
    sections: list[Section]
