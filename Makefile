# Each target works alone from a clean clone: it makes .venv first, once per change of pyproject.toml.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
WORKERS ?= 4

PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses $(WORKERS) --dist worksteal -q

# Make would delete stamps that only pattern rules mention.
.SECONDARY:
.PHONY: help test test-all test-distributed test-gpu-compile test-newest demo bench check format lint types clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

# The stamp names the extra; what installs `dev` has installed `demo` too.
$(VENV)/.installed-%: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@ $(if $(filter dev,$*),$(VENV)/.installed-demo)

test: $(VENV)/.installed-$(EXTRAS) ## run the tests
	$(PYTEST) $(ARGS)

test-all: $(VENV)/.installed-$(EXTRAS) ## run the tests and the long matrix
	$(PYTEST) -m "" $(ARGS)

test-distributed: $(VENV)/.installed-$(EXTRAS) ## run one program in two processes, and resume it from a checkpoint
	$(BIN)/python -m pytest -q -p no:xdist -o python_files=distributed.py tests/devices/programs

test-newest: ## run the tests on the newest Python and JAX, if such a Python is here
	scripts/newest-leg

test-gpu-compile: ## compile the kernels for an H200, without one, in an environment of its own
	scripts/gpu-compile

demo: $(VENV)/.installed-demo ## train a model online, and show what the compiler made of it
	$(BIN)/python examples/demo.py

bench: $(VENV)/.installed-$(EXTRAS) ## run the quick suite of benchmarks; `python -m benchmarks --suite full` is the long one
	$(BIN)/python -m benchmarks --suite quick

check: lint types test ## what .ci/run runs first: format check, lint, types, tests

format: $(VENV)/.installed-$(EXTRAS) ## rewrite the files in the house format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/.installed-$(EXTRAS)
	$(BIN)/pyright --pythonpath $(BIN)/python

clean: ## remove what the targets made
	rm -rf .venv .venv312 .venv-gpu .cache build dist out .pytest_cache .ruff_cache .hypothesis src/etir.egg-info
