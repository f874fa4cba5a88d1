"""The page in a real browser, without a network: images load, nothing fails, nothing overflows."""

import html
import json
import re
import shutil
import subprocess

import fabricated
import pytest

from mmbackbone_plugins.lab.benchmarking.report import write_report

pytest.importorskip('matplotlib')

WIDTHS = (390, 1280)
FLAGS = (
    '--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking '
    '--disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr '
    '--virtual-time-budget=20000 --dump-dom'
).split()

# Goes first into a copy of the page: it sees every error, and tells the page around it.
PROBE = """<script>
const errors = [];
addEventListener('error', e => errors.push(e.message || 'failed: ' + e.target.outerHTML), true);
addEventListener('securitypolicyviolation', e => errors.push(e.blockedURI));
addEventListener('load', () => {
  const closed = document.querySelectorAll('details').length;
  document.querySelectorAll('details').forEach(d => d.open = true);
  parent.postMessage(JSON.stringify({
    width: innerWidth, title: document.title, errors, closed,
    page: document.documentElement.scrollWidth,
    tables: [...document.querySelectorAll('.box')].map(b => [b.clientWidth, b.scrollWidth]),
    images: [...document.images].map(i => {
      const box = i.getBoundingClientRect();
      return {alt: i.alt, complete: i.complete, natural: i.naturalWidth, left: box.left,
              right: box.right, height: box.height};
    }),
    loaded: performance.getEntriesByType('resource').map(r => r.name.slice(0, 40)),
    text: document.body.innerText,
  }), '*');
});
</script>"""

# A window of Chromium is never narrower than 500 px, a frame is.
FRAMES = """<!DOCTYPE html><pre id="found"></pre><script>
const found = [];
addEventListener('message', e => {
  found.push(e.data);
  if (found.length == %d) document.getElementById('found').textContent = '[' + found + ']';
});
</script>"""


@pytest.fixture(scope='module')
def chromium():
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip('no Chromium here (Debian: apt-get install chromium)')


def look(chromium, page, folder):
    """Loads a page in frames of both widths; returns what the probe saw, and the console."""
    folder.mkdir()
    text = page.read_text(encoding='utf-8')
    assert text.count('<head>') == 1
    (folder / 'copy.html').write_text(text.replace('<head>', f'<head>{PROBE}'), encoding='utf-8')
    frames = [f'<iframe src="copy.html" width="{w}" height="900"></iframe>' for w in WIDTHS]
    (folder / 'frames.html').write_text(FRAMES % len(WIDTHS) + ''.join(frames))
    process = subprocess.run(
        [
            chromium,
            *FLAGS,
            f'--user-data-dir={folder / "profile"}',
            (folder / 'frames.html').as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env={'HOME': str(folder), 'PATH': '/usr/bin:/bin'},
    )
    match = re.search(r'<pre id="found">(.+?)</pre>', process.stdout, re.S)
    assert match, process.stderr[-2000:]
    console = [line for line in process.stderr.splitlines() if 'CONSOLE' in line]
    return {found['width']: found for found in json.loads(html.unescape(match[1]))}, console


def check(found, console, images):
    """What must hold of every report."""
    assert set(found) == set(WIDTHS) and console == []
    for width, seen in found.items():
        assert seen['errors'] == []
        assert seen['page'] <= width, 'the page scrolls sideways'
        assert all(box <= width for box, _ in seen['tables'])
        assert len(seen['images']) == images
        for image in seen['images']:
            assert image['complete'] and image['natural'] > 0, image['alt']
            assert image['left'] >= 0 and image['right'] <= width and image['height'] > 20
        assert all(name.startswith('data:') for name in seen['loaded'])


def test_report_in_a_browser(chromium, tmp_path):
    methods = ('full', 'frozen', 'dbf-rho2', 'ewc', 'a-method-with-a-name-that-does-not-end-soon')
    fabricated.make_benchmark(tmp_path, methods, domains=('clear', 'haze', 'dusk'), size=64)
    page = write_report(tmp_path)
    found, console = look(chromium, page, tmp_path / 'browser')
    check(found, console, page.read_text().count('<img '))
    phone = found[390]
    assert any(content > box for box, content in phone['tables'])  # they scroll in their boxes
    assert 'of 15 runs finished' in phone['text'] and phone['closed'] == 1


def test_hostile_names_run_nothing(chromium, tmp_path):
    hostile = '<img src=x onerror=document.title=1>'
    fabricated.make_benchmark(tmp_path, ('full', hostile), (0,), logs=False, size=None)
    error = '</pre><script>document.title = "broken in"; throw new Error("in")</script>'
    fabricated.save(tmp_path, fabricated.make_failed('se', 0, error * 3 + 'x' * 3000))
    page = write_report(tmp_path, title='A <b>title</b>')
    found, console = look(chromium, page, tmp_path / 'browser')
    check(found, console, page.read_text().count('<img '))
    assert {seen['title'] for seen in found.values()} == {'A <b>title</b>'}
    assert all(hostile in seen['text'] for seen in found.values())
