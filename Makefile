# Everything a newcomer needs: `make demo`, `make test`. Both create .venv on first use; re-running is quick.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# What an installed package is made from besides the Python files, which an editable install reads in place.
BUILD_INPUTS := pyproject.toml constraints.txt $(wildcard setup.py kernels/csrc/*)
# transformers and tokenizers must never reach for a network in tests, and small matrices gain nothing from more threads
TEST_ENV := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1

.PHONY: help demo test lint types pytest bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

demo: $(VENV)/.installed  ## Run examples/quickstart.py on the embedded model
	$(BIN)/python examples/quickstart.py

test: lint types pytest  ## Lint, type-check and test everything

lint: $(VENV)/.installed-test  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy sees the library under its installed name through a link, whatever the checkout's folder is called.
types: $(VENV)/.installed-test  ## Type-check the library
	mkdir -p build/mypy && ln -sfn "$(CURDIR)" build/mypy/ramify
	MYPYPATH=build/mypy $(BIN)/mypy -m ramify -m ramify.__main__ -p ramify.lang -p ramify.interpreter -p ramify.backend -p ramify.kernels

pytest: $(VENV)/.installed-test  ## Run the tests
	$(TEST_ENV) $(BIN)/pytest -q

bench: $(VENV)/.installed  ## Measure against transformers; tables go to benchmarks/results/
	$(BIN)/python benchmarks

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) build dist ramify.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find kernels -name '*.so' -delete

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("ramify needs Python 3.11 or newer; this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# PIP_CONSTRAINT reaches the isolated build environment too, which -c does not.
$(VENV)/.installed: $(VENV)/bin/python $(BUILD_INPUTS)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python $(BUILD_INPUTS)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.installed
