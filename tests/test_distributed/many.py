"""Calls ``main`` of tools/train.py with one list of arguments after the other."""

import importlib.util
import json
import sys
import time
from pathlib import Path

from yapf.yapflib import yapf_api


def main() -> None:
    path = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
    spec = importlib.util.spec_from_file_location('train', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    # mmengine lays out the config's text at every checkpoint, which takes longer than these runs.
    yapf_api.FormatCode = lambda text, **options: (text, False)
    for arguments in json.loads(sys.argv[1]):
        start = time.perf_counter()
        sys.argv = [str(path), *arguments]
        code = tool.main()
        if code:
            sys.exit(code)
        print(f'{arguments[0]}: {time.perf_counter() - start:.1f} s', flush=True)


if __name__ == '__main__':
    main()
