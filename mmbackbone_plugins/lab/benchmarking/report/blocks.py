"""What a report is made of, whatever it is written in."""

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Union


class Entry(NamedTuple):
    """What stands in a cell of a table.

    Attributes:
        text: The number with its spread.
        below: A second, smaller line: an interval, or a number of seeds that differs.
    """

    text: str
    below: str = ''


@dataclass
class Table:
    """A table; the first entry of a row is its name, and footnotes stand below."""

    title: str
    header: list[str]
    rows: list[list[Entry]]
    footnotes: list[str] = field(default_factory=list)


class Picture(NamedTuple):
    """One picture file.

    Attributes:
        file: Its path from the report's folder, with slashes.
        alt: What is to be seen, for those who cannot see it.
        label: A line below it; empty if it speaks for itself.
    """

    file: str
    alt: str
    label: str = ''


@dataclass
class Figure:
    """Pictures with one caption.

    Attributes:
        title: What they show.
        caption: How to read them; without pictures, why there are none.
        pictures: The pictures.
        columns: Pictures in a row where there is room; None: as many as fit.
        legend: A picture that explains all others.
    """

    title: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)
    columns: Optional[int] = None
    legend: Optional[Picture] = None


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
    """The whole report.

    Attributes:
        title: Its title.
        status: How many runs it covers, in a sentence.
        complete: Whether that is all of them.
        facts: Name and value of what is known of the benchmark.
        sections: The rest.
    """

    title: str
    status: str
    complete: bool
    facts: list[tuple[str, str]]
    sections: list[Section]
