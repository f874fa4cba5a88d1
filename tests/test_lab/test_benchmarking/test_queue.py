"""The queue, with processes that pretend to train; and the folders of runs."""

import errno
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mmbackbone_plugins.lab.benchmarking import (
    Local,
    Queue,
    Result,
    RunFolder,
    load_results,
    read_plan,
)
from mmbackbone_plugins.lab.benchmarking.plan import Step
from mmbackbone_plugins.lab.benchmarking.prepare import prepare

CONFIG = """
custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
custom_hooks = [dict(type='RGNHook', interval=7)]
default_hooks = dict(timer=dict(type='IterTimerHook'))
value = 1
size = dict(y=1)
"""
PLAN = """
seeds: [0]
datasets: [d]
detectors: [m]
methods:
  a: a.py
  b: {config: a.py, options: {value: 2, size: {_delete_: true, x: 1}}}
  c: {config: a.py, options: {value: 3}}
"""
SCORES = {'d': {'mAP': 0.5}}
# What the real process leaves behind, without the training; it imports nothing that takes time.
FAKE = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
run = json.loads((folder / 'run.json').read_text())['run']
(folder / 'train').mkdir(exist_ok=True)
(folder / 'starts').open('a').write('x')
if run['method'] in {failing!r}:
    print('no luck')
    print({message!r})
    sys.exit(3)
(folder / 'progress.json').write_text('{{"done": 0.5}}')
time.sleep({sleep})
result = dict(json.loads({result!r}), method=run['method'])
(folder / 'result.json').write_text(json.dumps(result))
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('a.py').write_text(CONFIG)
    Path('p.yml').write_text(PLAN)
    said = []

    class Fake(Local):
        def command(self, folder):
            return [sys.executable, 'fake.py', str(folder)]

    class Bench:
        def __init__(self):
            self.said, self.plan = said, read_plan('p.yml')
            self.set()

        def set(self, failing=(), message='ValueError: broken', sleep=0.0):
            done = Result('d', 'm', '?', 0, 'finished', scores=SCORES, in_domain=['d'])
            done.save('.')
            result = Path('result.json').read_text()
            text = FAKE.format(failing=failing, message=message, sleep=sleep, result=result)
            Path('fake.py').write_text(text)

        def folders(self):
            return [RunFolder.of(self.plan, run) for run in self.plan.runs]

        def queue(self, jobs=1):
            said.clear()
            return Queue(self.folders(), Fake(jobs), said.append, every=0.0)

    return Bench()


def test_a_failure_does_not_stop_the_others_and_is_tried_again(bench):
    bench.set(failing=('b',))
    queue = bench.queue(jobs=2)
    assert queue.run() == 1
    assert queue.failed == ['d/m/b/seed0']
    assert [f.state for f in bench.folders()] == ['finished', 'failed', 'finished']
    failed = bench.folders()[1].result()
    assert failed.error.splitlines() == ['exit status 3', 'no luck', 'ValueError: broken']
    assert failed.scores == {}
    assert any('FAILED: d/m/b/seed0, exit status 3' in line for line in bench.said)
    assert any('[1/3 finished' in line or '[2/3 finished' in line for line in bench.said)

    bench.set()
    assert bench.queue().run() == 0
    assert bench.said[0] == '2 of 3 runs are finished already'
    assert [r.state for r in load_results('work_dirs/p')] == ['finished'] * 3
    starts = [(f.path / 'starts').read_text() for f in bench.folders()]
    assert starts == ['x', 'xx', 'x']  # what was finished is not done again
    # The failed attempt's record is kept.
    kept = json.loads((bench.folders()[1].path / 'result.failed.json').read_text())
    assert kept['state'] == 'failed'


def test_a_full_disk_stops_the_queue_and_keeps_what_is_finished(bench):
    bench.set(failing=('b',), message='OSError: [Errno 28] No space left on device')
    assert bench.queue().run() == 2
    assert [f.state for f in bench.folders()] == ['finished', 'failed', 'new']
    assert 'the disk is full' in bench.said[-1] and '1 runs were not begun' in bench.said[-1]


def test_a_result_that_cannot_be_written_leaves_the_run_begun(bench, monkeypatch):
    bench.set(failing=('b',))

    def full(self, folder):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Result, 'save', full)
    assert bench.queue().run() == 2
    assert bench.folders()[1].state == 'begun'
    assert not list(Path('work_dirs').rglob('*.new'))


def test_interrupted(bench):
    bench.set(sleep=60)
    queue = bench.queue()

    def say(text):
        bench.said.append(text)
        if ' 50%' in text:
            raise KeyboardInterrupt

    queue.say = say
    with pytest.raises(KeyboardInterrupt):
        queue.run()
    assert 'goes on from their last checkpoints' in bench.said[-1]
    assert queue._running[0].process.poll() is not None
    assert bench.folders()[0].state == 'begun'
    bench.set()
    assert bench.queue().run() == 0
    assert any(line == 'resumed: d/m/a/seed0' for line in bench.said)


def test_what_another_process_is_at_is_left_alone(bench):
    first = bench.folders()[0]
    first.make_ready()
    with first.alone():
        assert first.busy
        queue = bench.queue()
        assert queue.run() == 1
        assert queue.elsewhere == ['d/m/a/seed0'] and not queue.failed
    assert not first.busy
    assert [f.state for f in bench.folders()] == ['new', 'finished', 'finished']


def test_a_file_system_without_locks(bench, monkeypatch):
    """Case 35: Lustre, and NFS without its lock daemon, answer ENOLCK."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr('fcntl.flock', flock)
    first = bench.folders()[0]
    first.make_ready()
    with first.alone():
        with pytest.raises(BlockingIOError, match=r'another process .* remove .*lock\.soft'):
            with first.alone():
                pass
        assert bench.queue().run() == 1
    assert not first.busy and bench.queue().run() == 0


WITHOUT = """
import multiprocessing, os, sys
sys.modules.update(fcntl=None, resource=None)
del os.killpg, os.set_blocking, os.sched_getaffinity
multiprocessing.get_all_start_methods = lambda: ['spawn']
import signal
import subprocess
from pathlib import Path
from mmbackbone_plugins.lab import interruption
from mmbackbone_plugins.lab.benchmarking import RunFolder, queue
from mmbackbone_plugins.lab.benchmarking.plan import Run
with interruption.explained('.'):
    with RunFolder(Run('d', 'm', 'a', 0, 'a.py', {}, (), (), {}), Path('.'), '').alone():
        child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
        queue._end(child)
        print(child.wait(30) == -signal.SIGTERM)
"""


def test_what_only_posix_has_is_not_needed(tmp_path):
    """Case 36: a system without fcntl, groups of processes, pipes that do not block and forks."""
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[3]))
    options = dict(cwd=tmp_path, env=env, capture_output=True, text=True)
    done = subprocess.run([sys.executable, '-c', WITHOUT], **options)
    assert (done.returncode, done.stdout) == (0, 'True\n'), done.stderr


def test_another_config_in_the_same_folder_is_refused(bench):
    assert bench.queue().run() == 0
    Path('p.yml').write_text(PLAN.replace('value: 2', 'value: 5'))
    bench.plan = read_plan('p.yml')
    a, b, _ = bench.folders()
    a.check()
    with pytest.raises(ValueError, match='another config') as error:
        b.check()
    lines = str(error.value).replace(' = ', '=')  # yapf may be off in this process
    assert '- value=2' in lines and '+ value=5' in lines
    assert b.result().state == 'finished'  # untouched


def test_folders_of_another_version_are_refused(bench):
    assert bench.queue().run() == 0
    folder = bench.folders()[0]
    spec = folder.path / 'run.json'
    spec.write_text(spec.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(ValueError, match='made by version 0 of this benchmark'):
        folder.check()
    result = folder.path / 'result.json'
    result.write_text(result.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(
        ValueError, match='version 9 of this benchmark, this one writes and reads 1'
    ):
        load_results('work_dirs/p')
    result.write_text('{"version"')
    with pytest.raises(ValueError, match='cannot be read'):
        load_results('work_dirs/p')


def test_the_config_of_a_run(bench):
    a, b, _ = bench.folders()
    cfg = b.config()
    assert cfg.value == 2 and cfg.size == dict(x=1) and cfg.randomness.seed == 0
    # RGNHook is there already, with the user's own interval; the list of hooks is untouched.
    assert cfg.custom_hooks == [dict(type='RGNHook', interval=7)]
    assert cfg.default_hooks == dict(
        timer=dict(type='IterTimerHook'),
        cost=dict(type='TrainingCostHook'),
        drift=dict(type='DriftHook'),
        eigenspectrum=dict(type='EigenspectrumHook'),
    )
    assert b.config().pretty_text == cfg.pretty_text  # the first call has used up nothing
    a.make_ready()
    again = RunFolder.read(a.path)
    assert again.run == a.run and again.command == a.command
    assert '--only d/m/a/seed0' in a.command


def test_slurm_lines(bench):
    from mmbackbone_plugins.lab.benchmarking import slurm

    bench.set(failing=('b', 'c'))
    bench.queue().run()
    lines = slurm.commands(bench.folders(), 'gpu', 4)
    assert len(lines) == 2  # not the finished one
    assert '--partition=gpu' in lines[0] and '--gres=gpu:4' in lines[0]
    assert '--nproc_per_node=4' in lines[0] and lines[0].endswith('--launcher pytorch')


def test_places_of_gpus():
    local = Local(jobs=2, gpus=4, ranks=2)
    assert [local.environment(slot)['CUDA_VISIBLE_DEVICES'] for slot in (0, 1)] == ['0,1', '2,3']
    assert 'CUDA_VISIBLE_DEVICES' not in {
        k: v for k, v in Local().environment(0).items() if k not in os.environ
    }


def test_memory_format(tmp_path):
    assert Local(channels_last=True).command(tmp_path)[-1] == '--channels-last'
    assert '--channels-last' not in Local().command(tmp_path)


def test_prepare(tmp_path):
    said = []
    made = tmp_path / 'made'
    step = Step(str(made), f'echo 1 >> {made}')
    prepare([step], said.append)
    prepare([step], said.append)
    assert made.read_text() == '1\n'  # once
    assert said[0].startswith('preparing (1 of 1): echo')
    with pytest.raises(RuntimeError, match='exit status 4 of: exit 4'):
        prepare([Step('nothing', 'exit 4')], said.append)
    with pytest.raises(RuntimeError, match='nothing is still missing after: true'):
        prepare([Step('nothing', 'true')], said.append)


def test_prepare_takes_the_python_that_runs_it(tmp_path, monkeypatch):
    """Case 41: the tool was called by its full path, and no environment is activated."""
    monkeypatch.setenv('PATH', '/usr/bin:/bin')
    made = tmp_path / 'made'
    prepare([Step(str(made), f'python -c "import sys; print(sys.executable)" > {made}')], print)
    assert made.read_text().strip() == sys.executable


def test_time_left(bench):
    bench.set(sleep=0)
    queue = bench.queue()
    queue._rates = [100.0, 200.0]
    # Three whole runs of 150 s, one after the other.
    assert queue._left(bench.folders()) == pytest.approx(450)
    folder = bench.folders()[0]
    folder.path.mkdir(parents=True)
    (folder.path / 'progress.json').write_text(json.dumps(dict(done=0.5)))
    assert queue._left([folder]) == pytest.approx(75)


@pytest.mark.parametrize('more', [[], ['--slurm', 'print', '--partition', 'p']])
def test_first_weights_are_looked_for_before_anything_starts(more, bench, capsys):
    path = Path(__file__).resolve().parents[3] / 'tools' / 'benchmark.py'
    tool = runpy.run_path(str(path))
    init = "dict(type='Pretrained', checkpoint='w.pth')"
    Path('a.py').write_text(f'{CONFIG}model = dict(backbone=dict(init_cfg={init}))\n')
    assert tool['main'](['p.yml', *more]) == 2
    said = capsys.readouterr().err
    assert said == "error: model.backbone.init_cfg.checkpoint='w.pth' does not exist\n"
    Path('w.pth').write_text('<html>Sign in</html>')
    assert tool['main'](['p.yml', *more]) == 2
    assert 'cannot be read: it is a web page' in capsys.readouterr().err
    Path('a.py').write_text(f"{CONFIG}load_from = 'w.pth'\n")
    assert tool['main'](['p.yml', *more]) == 2
    assert "load_from='w.pth' cannot be read" in capsys.readouterr().err
    assert not Path('work_dirs/p/runs').exists()
