# `make run` and `make test` set up what they need on a machine with Python 3.11, pip, make, git.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test lint format benchmarks clean

run: $(VENV)/.installed
	$(BIN)/harness run --method aspo --tasks mmbench,pope

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmarks: $(VENV)/.installed-test
	$(BIN)/python -m tests.benchmarks

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	# VLMEvalKit's scorers for the parity test; its other dependencies break this environment.
	$(BIN)/python -m pip install --quiet --no-deps ms-vlmeval==0.0.20 validators==0.36.0 sty==1.0.6
	# AlpacaEval's regression for the parity test, without clients of a dozen services.
	$(BIN)/python -m pip install --quiet --no-deps alpaca-eval==0.6.6 patsy==1.0.3
	# open_clip's loss for a benchmark, which loads that file alone: the package needs torchvision.
	$(BIN)/python -m pip install --quiet --no-deps open_clip_torch==3.3.0
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
