"""tools/misc/check_distributed.py over gloo: it passes here, and sees a rank that differs."""

import subprocess

import pytest
import runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SCRIPT = runs.ROOT / 'tools' / 'misc' / 'check_distributed.py'
SPOILED = """
import os, sys
sys.path.insert(0, {folder!r})
import check_distributed as tool

if __name__ == '__main__':
    make = tool.make_watch

    def make_watch():
        watch = make()
        watch.after_train = lambda runner: (spoil(runner.model), watch.seeds.append(0))
        return watch

    def spoil(model):
        if os.environ['RANK'] == '1':
            next(model.module.neck.parameters()).data.flatten()[0] += 1e-6

    tool.make_watch = make_watch
    sys.exit(tool.main())
"""


def check(script, *arguments):
    return subprocess.run(
        runs.command(2, script, *arguments),
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=1000,
    )


def lines(done):
    return [line for line in done.stdout.splitlines() if line.startswith(('PASS', 'FAIL', 'SKIP'))]


def test_it_passes_here(tmp_path):
    methods = ['dbf', 'fisher', 'combined', 'combined-amp']
    done = check(SCRIPT, '--work-dir', tmp_path, '--methods', *methods)
    assert done.returncode == 0, done.stderr[-4000:]
    assert '2 ranks, gloo, CPU' in done.stdout
    passed = [f'PASS {m}' for m in methods[:-1]]
    assert lines(done) == [*passed, 'SKIP combined-amp: needs a GPU']


def test_ranks_that_differ_or_draw_the_same_fail(tmp_path):
    (tmp_path / 'spoiled.py').write_text(SPOILED.format(folder=str(SCRIPT.parent)))
    done = check(tmp_path / 'spoiled.py', '--work-dir', tmp_path, '--methods', 'dbf')
    assert done.returncode != 0
    said = 'two steps, or two ranks, draw the same random numbers; weights differ between ranks'
    assert lines(done) == [f'FAIL dbf: {said}'], done.stderr[-4000:]
