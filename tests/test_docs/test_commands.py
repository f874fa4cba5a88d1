"""Every command of every page: checked as it is written, and run."""

import re

import commands
import mirror
import pages
import pytest

COMMANDS = commands.collect()


def test_there_are_commands():
    assert len(COMMANDS) > 50 and len(commands.to_run()) > 40


@pytest.mark.parametrize('command', COMMANDS, ids=lambda c: c.text[:80])
def test_a_command_can_be_run_or_says_why_not(command):
    """A new command that is neither run nor excused fails here, without any training."""
    assert command.excuse or not commands.faults(command), command.page


def test_what_is_not_a_command_is_seen():
    """The check itself, on what must not pass."""
    for text, fault in {
        'python tools/train.py CONFIG --no-such-option 1': 'no option --no-such-option',
        'python tools/no_such_tool.py CONFIG': 'does not exist',
        'python tools/train.py configs/dbf/none.py': 'does not exist',
        'python tools/train.py MY_CONFIG': 'placeholders',
        'docker run image': "nothing runs 'docker'",
        'python script.py': 'no script of the repository',
    }.items():
        command = commands.Command(text, 'README.md')
        assert not command.excuse
        assert any(fault in found for found in commands.faults(command)), text


def test_versions_to_install_are_those_that_are_tested():
    requirement = pytest.importorskip('packaging.requirements').Requirement
    known: dict[str, list] = {}
    for path in (pages.ROOT / 'requirements').glob('*.txt'):
        for line in path.read_text().splitlines():
            if re.match(r'[a-z]', line):
                wanted = requirement(line)
                known.setdefault(wanted.name, []).append(wanted.specifier)
    named = 0
    for command in COMMANDS:
        if 'pip install' in command.text and '==' in command.text:
            family = 'openmmlab' if 'mmdet==' in command.text else 'onedl'
            for package, version in re.findall(r'([\w-]+)==(\S+)', command.text):
                if package in ('torch', 'torchvision') and version.startswith(('2.0.', '0.15.')):
                    continue  # of the OpenMMLab set, which no file of requirements pins
                assert any(s.contains(version, prereleases=True) for s in known[package]), family
                named += 1
    assert named >= 10


@pytest.fixture(scope='module')
def shell(tmp_path_factory):
    pytest.importorskip('mmrotate')
    pytest.importorskip('matplotlib')
    shell = mirror.make(tmp_path_factory.mktemp('repository'))
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.parametrize('command', commands.to_run(), ids=lambda c: c.text[:80])
def test_command_runs(command, shell):
    text = mirror.fill_in(command, shell)
    status, said = shell.run(text)
    assert status == 0, f'{command.page}: {text}\n{said}'
    for option, target in zip(text.split(' '), text.split(' ')[1:]):
        if option in ('-o', '--out', '--plot'):
            assert (shell.root / target).exists(), f'{text} wrote no {target}'


@pytest.mark.slow
def test_a_failing_command_is_seen(shell):
    assert shell.run('python tools/train.py no_such_config.py')[0] == 2
    status, said = shell.run('python tools/test.py CONFIG.py no_such_checkpoint.pth')
    assert status == 2 and 'does not exist' in said
