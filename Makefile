# Everything a developer does. `make test` and `make demo` set up what they need by themselves.
#
#   VENV=folder        another environment than .venv
#   PYTHON=python3.12  another interpreter (3.10 to 3.12)
#   ARGS='...'         passed on to pytest or to the demo
#   WORKERS=2          processes that share the tests
#   FORCE_CUDA=1       compile mmcv's CUDA operators; without, everything runs on the CPU
#   VENV_OPENMMLAB=folder, PYTHON39=python3.9: as VENV and PYTHON, for test-openmmlab

SHELL := bash
VENV ?= .venv
VENV_OPENMMLAB ?= .venv-openmmlab
WORKERS ?= 2
export VENV
.DEFAULT_GOAL := help
.PHONY: help setup demo check check-openmmlab test test-slow test-openmmlab lint types docs bench dist format clean distclean

# Operators compiled for the CPU only fail on CUDA tensors: without CUDA operators, hide the GPU.
in_venv = if [ -e '$(1)/.cpu-ops' ]; then export CUDA_VISIBLE_DEVICES=; fi; '$(1)/bin/python'
IN_VENV = $(call in_venv,$(VENV))
# The tests of a tier; ARGS may hold another `-m`: the last one counts. A worker that has nothing left
# takes half of what another one has: few files are split, so few module fixtures are made twice. Those
# of slow tests train for minutes, and stay together.
pytest = export OMP_NUM_THREADS=1; $(call in_venv,$(1)) -m pytest -m '$(2)' -n $(WORKERS) --dist $(if $(filter-out slow,$(2)),worksteal,loadfile)
MORE = $(ARGS) $(PYTEST_ARGS)
lint = '$(1)/bin/ruff' check --output-format concise . && '$(1)/bin/ruff' format --check . && '$(1)/bin/codespell'

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

setup:  ## Make the environment (.venv); takes no time when it is there
	@bash tools/setup_env.sh

demo: setup  ## Train a small detector on drawn scenes, and show what its backbone did
	@$(IN_VENV) tools/demo.py $(ARGS)

check: lint types  ## Lint, types, and the tests that neither train nor start programs
	@$(call pytest,$(VENV),unit) $(MORE)

test: lint  ## Lint and all tests but the slow ones; ARGS='-k name' picks
	@$(call pytest,$(VENV),not slow) $(MORE)

test-slow: setup  ## The slow tests
	@$(call pytest,$(VENV),slow) $(MORE)

# Each method through the tools, and what is near to the places where the families differ.
OPENMMLAB_TESTS ?= tests/test_configs/test_zoo_tools.py tests/test_compat_torch.py tests/test_main.py tests/test_lab/test_launch.py \
  tests/test_stages.py tests/test_hooks/test_feature_cache_hook.py tests/test_hooks/test_random_state_hook.py \
  tests/test_freezing tests/test_distortion tests/test_spectra tests/test_cost tests/test_hooks/test_freezing_distributed.py

# Its environment; without a Python 3.9 the recipe that begins so ends here, as if all were well.
define setup_openmmlab
FAMILY=openmmlab VENV='$(VENV_OPENMMLAB)' PYTHON='$(PYTHON39)' bash tools/setup_env.sh; status=$$?; \
if [ $$status = 77 ]; then echo 'skipped: the tests beside the OpenMMLab family need Python 3.9'; exit 0; fi; \
[ $$status = 0 ] || exit $$status;
endef

check-openmmlab:  ## Set-up, lint and unit tests beside the OpenMMLab family; skipped without Python 3.9
	@$(setup_openmmlab) $(call lint,$(VENV_OPENMMLAB)) || exit 1; \
	$(call pytest,$(VENV_OPENMMLAB),unit) $(OPENMMLAB_TESTS) $(MORE)

test-openmmlab:  ## Set-up and tests beside the OpenMMLab family; skipped without Python 3.9
	@$(setup_openmmlab) $(call pytest,$(VENV_OPENMMLAB),not slow) $(OPENMMLAB_TESTS) $(MORE) || exit 1; \
	$(call in_venv,$(VENV_OPENMMLAB)) -m pytest -m slow tests/test_configs/test_zoo_tools.py $(PYTEST_ARGS)

lint: setup  ## Check style, format and spelling
	@$(call lint,$(VENV))

types: setup  ## Check types
	@'$(VENV)/bin/mypy'

docs: setup  ## Build the documentation into site/; any warning is an error
	@NO_MKDOCS_2_WARNING=1 '$(VENV)/bin/python' -m mkdocs build --strict $(ARGS)

bench: setup  ## Benchmarks at small size, against benchmarks/ratios.json; some minutes
	@$(IN_VENV) benchmarks/guard.py $(ARGS)

dist: setup  ## Build sdist and wheel into dist/
	@rm -rf dist && '$(VENV)/bin/python' -m build

format: setup  ## Mend what can be mended
	@'$(VENV)/bin/ruff' check --fix . ; '$(VENV)/bin/ruff' format .

clean:  ## Remove builds and caches
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment too
	@if [ -e '$(VENV)' ] && [ ! -e '$(VENV)/.lock' ]; then echo "$(VENV) was not made by make setup" >&2; exit 1; fi
	rm -rf '$(VENV)'
	if [ -e '$(VENV_OPENMMLAB)/.lock' ]; then rm -rf '$(VENV_OPENMMLAB)'; fi
