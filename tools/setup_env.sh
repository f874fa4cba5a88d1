#!/usr/bin/env bash
# Makes a development environment: torch, one family's stack with compiled operators, the test
# tools and this package (editable). `make setup` runs it; a second run takes no time.
#
#   FAMILY      onedl (default) or openmmlab
#   PYTHON      interpreter, 3.10 to 3.12 or 3.9 (default: the first of 3.11, 3.12, 3.10 that runs)
#   VENV        folder (default .venv or .venv-openmmlab)
#   FORCE_CUDA  1: compile the CUDA operators too (needs the CUDA toolkit; default: CPU only)
#   MAX_JOBS    compilers at once (default: by cores and memory)
#
# It may be interrupted at any time: a pip install that was cut off is recognised and the
# environment made anew (pip's cache makes that cheap); the compile, which takes most of the time,
# runs outside of such a phase. Two runs at once wait for each other.
#
# Ends with status 77 where the family is openmmlab and no Python of its age was found.
set -euo pipefail
unset PYTHONPATH PYTHONHOME  # nothing from outside the environment counts as installed
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

# All that differs between the families.
family=${FAMILY:-onedl}
case $family in
  onedl)
    pythons=(3.11 3.12 3.10) pythons_text='3.10, 3.11 or 3.12' missing=1 folder=.venv
    title='OneDL stack' mmcv=onedl-mmcv
    build=requirements/build.txt tested=requirements/tested.txt
    stack=(-r requirements/onedl.txt -r requirements/mmpretrain.txt -r requirements/mmseg.txt
      -r requirements/weights.txt -r requirements/dev.txt -r requirements/docs.txt)
    ;;
  openmmlab)
    pythons=(3.9) pythons_text=3.9 missing=77 folder=.venv-openmmlab
    title='OpenMMLab stack' mmcv=mmcv
    build=requirements/build-openmmlab.txt tested=requirements/tested-openmmlab.txt
    stack=(-r requirements/openmmlab.txt mmpretrain -r requirements/dev.txt)
    ;;
  *)
    printf 'FAMILY=%s: it is onedl or openmmlab\n' "$family" >&2
    exit 1
    ;;
esac

venv=${VENV:-$folder}
venv=${venv%/}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
py=$venv/bin/python
log=$venv/setup.log
stamp=$venv/.stamp              # what the finished environment was made from
in_progress=$venv/.in-progress  # a pip install was started and has not ended
steps=5
step=0

# What a finished environment depends on; the last: what .mim links to.
files=(tools/setup_env.sh tools/misc/compile_progress.py setup.py pyproject.toml "$build" "$tested")
for file in "${stack[@]}"; do
  case $file in requirements/*) files+=("$file") ;; esac
done
key="$(cat "${files[@]}" | cksum)
cuda=${FORCE_CUDA:-0} root=$PWD mim=$(echo configs* tools* model-index.y*)"

say() { printf '%s\n' "$*"; }

# fail MESSAGE [STATUS]
fail() {
  printf '\nset-up failed: %s\n' "$1" >&2
  if [ "$step" -gt 0 ]; then
    say "--- the last lines of $log ---" >&2
    # pip reports every unreadable index location it was configured with: noise here.
    grep -v 'Location .* is ignored' "$log" | tail -n 30 >&2 || true
  fi
  exit "${2:-1}"
}

# --- choosing an interpreter ------------------------------------------------------------------

# Prints "3.11" if the interpreter runs, has an allowed version and can make environments;
# otherwise a reason. Version managers put commands on PATH that only print an error: so run it.
probe() {
  "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if version not in sys.argv[1:]:
    sys.exit("this is Python " + version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it cannot make virtual environments (install python%s-venv)" % version)
print(version)' "${pythons[@]}" 2>&1
}

candidates() {
  local name root version
  for name in "${pythons[@]/#/python}" python3; do type -aP "$name" || true; done
  root=$(pyenv root 2>/dev/null || echo "${PYENV_ROOT:-${HOME:-}/.pyenv}")
  for version in "${pythons[@]}"; do
    for name in "$root/versions/$version".*/bin/python; do
      if [ -x "$name" ]; then echo "$name"; fi
    done
  done
}

first_line() { grep -m 1 . <<<"$1" || echo "it does not run"; }

choose_python() {  # sets python and version
  local candidate seen=''
  if [ -n "${PYTHON:-}" ]; then
    version=$(probe "$PYTHON") ||
      fail "PYTHON=$PYTHON: $(first_line "$version"); Python $pythons_text is needed"
    python=$PYTHON version=$(tail -n 1 <<<"$version")
    return
  fi
  while read -r candidate; do
    if version=$(probe "$candidate"); then
      python=$candidate version=$(tail -n 1 <<<"$version")
      return
    fi
    seen+="
  $candidate: $(first_line "$version")"
  done < <(candidates)
  fail "no Python $pythons_text was found: install one, or name it (PYTHON=/path/to/python${pythons[0]}).${seen:+ Looked at:$seen}" "$missing"
}

# --- steps ------------------------------------------------------------------------------------

pip() { "$py" -m pip "$@"; }

# run LABEL COMMAND...: one numbered step, timed, its output in the log.
run() {
  local start=$SECONDS
  step=$((step + 1))
  printf '[%d/%d] %s ... ' "$step" "$steps" "$1"
  say "=== $1" >>"$log"
  if ! "${@:2}" >>"$log" 2>&1; then
    say "failed after $((SECONDS - start)) s"
    fail "$1"
  fi
  say "$((SECONDS - start)) s"
}

# installing COMMAND...: a pip install; cut off inside it, the next set-up starts anew.
installing() { touch "$in_progress" && "$@" && rm "$in_progress"; }

make_venv() {
  # The marks stay, so that a removal that is cut off is recognised too.
  find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock ! -name .in-progress ! -name setup.log \
    ! -name tmp -exec rm -rf {} + &&
    "$python" -m venv "$venv" && pip install --upgrade -r "$build"
}

# The tested versions; and the build tools stay as they are.
pins=(-c "$tested" -c "$build")

install_torch() { pip install "${pins[@]}" torch torchvision; }

install_stack() {
  # The wheel first and by force: a broken build of the same version may be there.
  if [ -d "$venv/wheels" ]; then
    install_wheel || return
  fi
  pip install --no-build-isolation "${pins[@]}" "${stack[@]}"
}

install_wheel() { pip install --no-deps --force-reinstall "$venv"/wheels/"${mmcv//-/_}"-*.whl; }

install_package() { pip install --no-deps --no-build-isolation -e .; }

# Are the operators there, made for this torch, and do they compute? Without torch at build time
# they are skipped in silence and every detector fails later. Status 3: they do, but slowly.
check_ops() {
  "$py" - "${FORCE_CUDA:-0}" "$mmcv" "$(sed -n "s/^$mmcv==//p" "$tested")" <<'PY'
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from mmcv.ops import box_iou_rotated, get_compiling_cuda_version, nms_rotated

boxes = torch.tensor([[10.0, 10.0, 8.0, 4.0, 0.3], [10.0, 10.0, 8.0, 4.0, 0.3]])
assert abs(float(box_iou_rotated(boxes, boxes)[0, 1]) - 1) < 1e-4
assert len(nms_rotated(boxes, torch.tensor([0.9, 0.8]), 0.5)[1]) == 1
assert version(sys.argv[2]) == sys.argv[3], 'another version of mmcv is installed'
cuda = get_compiling_cuda_version()
assert sys.argv[1] != '1' or cuda != 'not available', 'FORCE_CUDA=1, but there are no CUDA operators'
print('mmcv operators work; CUDA:', cuda)
cpu_only = Path(sys.prefix, '.cpu-ops')  # the Makefile hides the GPU then
cpu_only.touch() if cuda == 'not available' else cpu_only.unlink(missing_ok=True)
if runpy.run_path('mmbackbone_plugins/compat.py')['operators_lack_optimisation']():
    print('they were compiled without optimisation')
    sys.exit(3)
PY
}

# build_ops LABEL [PIP OPTION...]: the operators' wheel into $venv/wheels; a ready one, from pip's
# cache or PIP_FIND_LINKS, is taken if there is one. No build isolation: the build needs torch.
build_ops() {
  local label=$1 headers hide_gpu=()
  shift
  rm -rf "$venv/wheels"
  # A machine with a GPU and no CUDA toolkit cannot compile for it: CPU operators unless asked.
  if [ "${FORCE_CUDA:-0}" = 1 ]; then
    set -- "$@" --no-binary "$mmcv" --no-cache-dir  # a ready wheel may lack CUDA
  else
    hide_gpu=(CUDA_VISIBLE_DEVICES=)
  fi
  # No debug information: half the time and a tenth of the size, the same machine code. Newer
  # setuptools take CFLAGS in place of Python's own flags, so the optimisation has to be among them.
  if ! env ${hide_gpu[@]+"${hide_gpu[@]}"} MMCV_WITH_OPS=1 CFLAGS="${CFLAGS:-} -g0 -O2 -DNDEBUG" PATH="$venv/bin:$PATH" \
    "$py" tools/misc/compile_progress.py --log "$log" --label "$label" -- \
    "$py" -m pip wheel -v --no-build-isolation --no-deps -w "$venv/wheels" "$@" \
    "${pins[@]}" "$mmcv"; then
    headers=$("$py" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$headers/Python.h" ] ||
      fail "Python's headers are missing ($headers/Python.h): install ${headers##*/}-dev"
    command -v "${CXX:-c++}" >/dev/null || fail "a C++ compiler is missing: install g++"
    [ "${FORCE_CUDA:-0}" != 1 ] ||
      fail "mmcv's CUDA operators did not compile: they need the CUDA toolkit of torch's version (nvcc), and a GPU or TORCH_CUDA_ARCH_LIST"
    fail "mmcv's operators did not compile"
  fi
}

# --- the set-up -------------------------------------------------------------------------------

# An environment keeps its Python, unless another one is asked for.
wanted=''
if [ -n "${PYTHON:-}" ]; then
  choose_python
  wanted=$version
fi
has_python() {
  local has
  has=$("$py" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) &&
    [ "$has" = "${wanted:-$has}" ]
}
# The stamp is removed first and written last: with it the environment is complete.
up_to_date() { [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && has_python; }
if up_to_date; then exit 0; fi

if [ -z "$wanted" ]; then choose_python; fi
# Not the `python` of an environment (it could be the one that is about to be removed).
python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')

# The lock also says that the folder is this script's to remove. Its content is the folder's path:
# an environment that was moved does not work.
mkdir -p "$venv"
if [ ! -e "$venv/.lock" ] && [ -n "$(ls -A "$venv")" ]; then
  fail "$venv exists and was not made by this script: remove it, or choose another folder (VENV=...)"
fi
exec 9>>"$venv/.lock"  # pip, started below, inherits it: a pip that outlives this script holds it
lock() { "$python" -c 'import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))' "$1"; }
nonblocking=$("$python" -c 'import fcntl; print(int(fcntl.LOCK_NB))')
if ! lock "$nonblocking" 2>/dev/null; then
  say "another set-up of $venv is running: waiting for it"
  lock 0
  if up_to_date; then exit 0; fi
fi

rm -f "$stamp"
: >"$log"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off
# Gigabytes pass through here: a small /tmp would not do, and what a killed pip leaves is found.
export TMPDIR=$venv/tmp
rm -rf "$TMPDIR"
mkdir "$TMPDIR"
# Developers may keep ready wheels beside the repository; without them the index is enough.
if [ -d ../shared/wheels ]; then
  export PIP_FIND_LINKS="${PIP_FIND_LINKS:+$PIP_FIND_LINKS }../shared/wheels"
fi

if [ -e "$in_progress" ]; then say "an earlier set-up was cut off: starting anew"; fi
if [ -e "$in_progress" ] || [ "$(cat "$venv/.lock")" != "$venv" ] || ! has_python; then
  touch "$in_progress"
  run "virtual environment, Python $version" make_venv
  printf '%s' "$venv" >"$venv/.lock"
  rm "$in_progress"
else
  run "build tools" installing pip install -r "$build"
fi

run "torch and torchvision (gigabytes, unless pip has them cached)" installing install_torch

step=$((step + 1))
if check_ops >>"$log" 2>&1; then
  rm -rf "$venv/wheels"
  say "[$step/$steps] mmcv's operators are there"
else
  build_ops "[$step/$steps] mmcv's operators:"
fi

run "the $title and the test tools" installing install_stack

step=$((step + 1))
start=$SECONDS
printf '[%d/%d] this package, and a check of the operators ... ' "$step" "$steps"
installing install_package >>"$log" 2>&1 || fail "installing this package"
if ! check_ops >>"$log" 2>&1; then
  # A wheel from pip's cache may come from a build without torch, beside another torch, or without
  # optimisation.
  say "the operators do not work, or not at full speed: building them from source, once"
  build_ops "      mmcv's operators:" --no-binary "$mmcv" --no-cache-dir
  installing install_wheel >>"$log" 2>&1 ||
    fail "installing mmcv's wheel"
  status=0
  check_ops >>"$log" 2>&1 || status=$?
  case $status in
    0) ;;
    3) say "warning: the operators work, but this compiler leaves them without optimisation" ;;
    *) fail "mmcv was installed, but its compiled operators do not work" ;;
  esac
  say "the broken wheel is still in pip's cache or in PIP_FIND_LINKS: without it (say," \
    "'pip cache remove ${mmcv//-/_}') the next set-up need not compile twice"
fi
# At its first import yapf, which mmengine uses, writes a cache in place: tests that start together
# would read half of it.
"$venv/bin/python" -c 'import yapf' >>"$log" 2>&1 || true
rm -rf "$venv/wheels" "$TMPDIR"
say "$((SECONDS - start)) s"
printf '%s' "$key" >"$stamp"
say "ready: $venv, $SECONDS s in all"
