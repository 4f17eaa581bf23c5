# Two commands for a newcomer: make demo, make test. Each is enough on a fresh machine with Python 3.11 and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-output
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready-for-tests

.PHONY: demo test test-slow coverage mutants lint format wheel clean help

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

demo: $(INSTALLED)  ## render the class models of the two bundled networks and say where they are
	$(BIN)/python examples/class_models.py $(OUT)

test: $(READY)  ## every test that needs neither a network nor minutes
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)  ## the long checks
	$(BIN)/pytest -n 2 --dist worksteal -m slow

coverage: $(READY)  ## the same tests, and which lines they leave out (a quarter slower)
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=95 -m "not slow"

mutants: $(READY)  ## 300 small faults put into src at random places: how many the tests notice (hours)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt cosmic-ray
	$(BIN)/pytest -m "not slow" --cov --cov-context=test --cov-report=
	$(BIN)/python -m bench.mutants

lint: $(READY)  ## static checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY)  ## put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)  ## the package, into dist/
	$(BIN)/python -m build --wheel

clean:  ## all that was made here
	rm -rf $(VENV) dist build demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# The constraints pin what these commands use. torch comes first: asked for by exact version, its CPU build is found where
# an index or a folder of wheels offers one, and later requirements are satisfied by it.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(READY): $(INSTALLED) tests/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r tests/requirements.txt
	touch $@
