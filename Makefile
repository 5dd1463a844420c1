# `make demo` and `make test` need Python 3.11 or newer, a C compiler and a package index, and
# nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Named in full on every install, so that pip takes this build and never a larger one.
TORCH := $(shell grep '^torch==' constraints.txt)
KERNEL := CMakeLists.txt $(wildcard src/xavier/bits/_kernel/c/*)
MANIFESTS := pyproject.toml constraints.txt $(KERNEL)
# Without this, an installation that cannot build the kernel goes on without it.
WITH_KERNEL := --config-settings=cmake.define.XAVIER_KERNEL=ON

.DEFAULT_GOAL := help
.PHONY: help demo test browser lint format types contracts docs bench bare sanitize all clean

help:  ## List what can be made.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.for-demo  ## Plan, draw and check real models on real data, and write demo-report.html.
	@$(BIN)/python examples/demo.py

test: $(VENV)/.for-test browser  ## Run every test, the doctests and the README's examples.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests src --doctest-modules

browser:  ## Install Debian's chromium for the tests of pages, where that may be done.
	@tools/install_browser.sh

lint: $(VENV)/.for-dev  ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.for-dev  ## Mend style and formatting where that can be done safely.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.for-dev  ## Check the types.
	$(BIN)/basedpyright

contracts: $(VENV)/.for-dev  ## Check who imports whom.
	$(BIN)/lint-imports

docs: $(VENV)/.for-test  ## Run every example in the README and docs, and follow their links.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_readme.py

bench: $(VENV)/.for-test  ## Measure the speed of drawing beside PyTorch, NumPy and JAX, in turns.
	@$(BIN)/python -m benchmarks --json benchmarks/results/latest.json

bare:  ## Install with no compiler in reach, in an environment of its own, and draw.
	PYTHON=$(PYTHON) tools/install_without_compiler.sh

sanitize:  ## Run the kernel's tests under the address and undefined-behaviour sanitizers.
	PYTHON=$(PYTHON) tools/sanitize.sh -n 2

all: test lint types contracts bare  ## All of the above checks, as CI runs them.

clean:  ## Remove what was built and cached, but not the environment.
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# A stamp is written only when its install went through, so a broken-off one is repeated.
$(VENV)/.for-%: $(VENV)/pyvenv.cfg $(MANIFESTS)
	$(PIP_INSTALL) $(TORCH) $(WITH_KERNEL) --editable '.[$*]'
	@touch $@
