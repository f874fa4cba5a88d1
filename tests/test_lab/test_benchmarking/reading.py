"""Reads reports back: tables of the page and of the Markdown as plain text."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tables by title, images and scripts of a page.

    A cell is the tuple (text, smaller text below).
    """

    def __init__(self, text):
        super().__init__()
        self.tables, self.images, self.tags, self.texts = {}, [], [], []
        self._title, self._small, self._cell, self._row = '', False, None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == 'img':
            self.images.append(dict(attrs))
        elif tag == 'h3':
            self._title = None
        elif tag == 'table':
            self.tables[self._title] = []
        elif tag == 'tr':
            self._row = []
            self.tables[self._title].append(self._row)
        elif tag in ('td', 'th'):
            self._cell = ['', '']
        elif tag == 'small':
            self._small = True

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self._row.append(tuple(self._cell))
            self._cell = None
        elif tag == 'small':
            self._small = False

    def handle_data(self, data):
        self.texts.append(data)
        if self._title is None:
            self._title = data
        elif self._cell is not None:
            self._cell[self._small] += data

    @property
    def text(self):
        return ' '.join(self.texts)


def markdown_tables(text):
    """Tables by the heading above them; a cell is its text."""
    tables, title = {}, ''
    for line in text.splitlines():
        if line.startswith('#'):
            title = line.lstrip('# ')
        elif line.startswith('|'):
            cells = [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
            if not all(set(cell) <= set(':- ') and '---' in cell for cell in cells):
                tables.setdefault(title, []).append([unescape(cell) for cell in cells])
    return tables


def unescape(text):
    """Undoes what Markdown needs."""
    text = re.sub(r'\\([\\`*\[\]|~$])', r'\1', text)
    return text.replace('&lt;', '<').replace('&gt;', '>').replace('&amp;', '&')


def numbers(text):
    """The numbers in a cell, each with half a unit of its last decimal."""
    found = re.findall(r'[+\u2212]?\d+(?:\.\d+)?', text)
    return [
        (float(n.replace('\u2212', '-')), 0.5 * 10.0 ** -len(n.partition('.')[2])) for n in found
    ]
