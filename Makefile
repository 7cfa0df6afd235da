# `make demo` and `make test` work on a fresh machine: each makes its own environments.
PYTHON ?= python3
VENV := .venv
# The runtime without PyTorch, as it is on a device.
LEAN := .venv-lean
# The site's generator, and the runtime whose help it prints.
DOCS := .venv-docs
PYTEST = SEGOPT_LEAN_PYTHON=$(CURDIR)/$(LEAN)/bin/python $(VENV)/bin/python -m pytest \
	--numprocesses $(WORKERS) --dist loadgroup

# Processes that run tests. Each takes up to 4 GB of memory, and one core.
WORKERS ?= 2

# Of `make fuzz`: for all classes of inputs together, and what makes its cases the same again.
MINUTES ?= 20
SEED ?=

.PHONY: demo test check lint types unit quick fuzz docs format clean

demo: $(VENV)/.installed
	$(VENV)/bin/segopt demo

# All, in minutes; `check` leaves out what takes longest, for daily work.
test: lint types unit

check: lint types quick

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed
	$(VENV)/bin/mypy

unit: $(VENV)/.installed $(LEAN)/.installed
	$(PYTEST)

quick: $(VENV)/.installed $(LEAN)/.installed
	$(PYTEST) -m "not slow"

# Damaged inputs and signals at random; a table, and what failed in tests/fuzz-failures.
fuzz: $(VENV)/.installed
	cd tests && ../$(VENV)/bin/python -m fuzzing --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# The site, in site/. Warnings are errors; nothing is fetched but what installs the generator.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

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

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --editable '.[cpu,docs]'
	touch $@

clean:
	rm -rf $(VENV) $(LEAN) $(DOCS) site .mypy_cache .pytest_cache .ruff_cache
