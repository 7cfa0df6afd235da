# `make demo` and `make test` work on a fresh machine: each makes its own environments.
PYTHON ?= python3
VENV := .venv
# The runtime without PyTorch, as it is on a device.
LEAN := .venv-lean

.PHONY: demo test lint types unit format clean

demo: $(VENV)/.installed
	$(VENV)/bin/segopt demo

test: lint types unit

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed
	$(VENV)/bin/mypy

unit: $(VENV)/.installed $(LEAN)/.installed
	SEGOPT_LEAN_PYTHON=$(CURDIR)/$(LEAN)/bin/python $(VENV)/bin/python -m pytest

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(LEAN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LEAN)
	$(LEAN)/bin/python -m pip install --quiet --upgrade pip
	$(LEAN)/bin/python -m pip install --quiet --editable '.[cpu]'
	touch $@

clean:
	rm -rf $(VENV) $(LEAN) .mypy_cache .pytest_cache .ruff_cache
