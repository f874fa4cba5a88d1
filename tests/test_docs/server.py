"""Runs command lines, one after the other, each in a fork: the stack is imported once.

A line of JSON comes in for each command, its exit status goes out.
"""

import json
import os
import runpy
import subprocess
import sys
import traceback


def run(order: dict) -> int:
    """A command in this process, which ends with it."""
    words, program = list(order['words']), order['words'][0]
    if program == 'torchrun':  # its one process, without the agent that watches it
        os.environ.update(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1')
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
        words = ['python', *words[words.index('1') + 1 :]]
        program = 'python'
    if program != 'python':
        return subprocess.run(['bash', '-c', order['text']]).returncode
    try:
        if words[1] == '-m':
            sys.argv = words[2:]
            runpy.run_module(words[2], run_name='__main__', alter_sys=True)
        else:
            sys.argv = words[1:]
            sys.path[0] = os.path.dirname(os.path.realpath(words[1]))
            runpy.run_path(words[1], run_name='__main__')
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork(order: dict) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        log = os.open(order['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order['variables'])
        status = run(order)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def free_port() -> int:
    import rig

    return rig.free_port()


if __name__ == '__main__':
    import torch

    from mmbackbone_plugins.lab import launch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what is printed is no answer
    launch.register_modules()
    import matplotlib.pyplot  # noqa: F401
    import rig  # noqa: F401

    for line in sys.stdin:
        answers.write(f'{fork(json.loads(line))}\n')
        answers.flush()
