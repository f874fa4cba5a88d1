"""What keeps ``import mmbackbone_plugins`` cheap; ``benchmarks/import_time.py`` has the figures."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
import mmengine.runner
before = set(sys.modules)
import mmbackbone_plugins
print(*sorted(set(sys.modules) - before))
"""
# For a tool or a picture, and imported there.
ROOMS = {'toy', 'visualization', 'launch', 'planning', 'zoo', '__main__'}


def test_it_imports_nothing_but_torch_and_mmengine():
    command = [sys.executable, '-W', 'ignore', '-c', SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    new = done.stdout.split()
    ours = [name for name in new if name.split('.')[0] == 'mmbackbone_plugins']
    assert 'mmbackbone_plugins.hooks' in ours
    assert not ROOMS & {name.split('.')[1] for name in ours if '.' in name}
    # Standard library and parts of torch may come; no other package.
    tops = {name.split('.')[0] for name in set(new) - set(ours)}
    assert tops - {'torch'} <= set(getattr(sys, 'stdlib_module_names', tops))
    heavy = {'mmdet', 'mmrotate', 'mmcv', 'matplotlib', 'scipy', 'pandas', 'PIL'}
    assert not heavy & tops
