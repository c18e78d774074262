# make train: the main job, on the simulated bench. make test: what CI runs. Both do all of their own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The solver's matrices are small: more threads only get in each other's way.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: train test lint prove docs clean

train: $(VENV)/.user
	$(BIN)/freqprop train $(ARGS)

test: $(VENV)/.developer
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not hardware and not prove" $(ARGS)

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The statistics behind the figures in the docs: long, with fixed seeds; writes docs/figures.md.
prove: $(VENV)/.developer
	$(BIN)/python -m pytest -m "prove and not hardware"
	$(BIN)/python benchmarks/prove.py

docs: $(VENV)/.developer
	$(PIP) install --constraint constraints.txt --group docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "freqprop-lab needs Python 3.11 or newer; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --upgrade pip
	touch $@

$(VENV)/.user: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[report]'
	touch $@

$(VENV)/.developer: $(VENV)/.user
	$(PIP) install --constraint constraints.txt --group dev
	touch $@
