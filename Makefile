# `make demo` and `make test` work on a fresh machine: each makes its own environments.
PYTHON ?= python3
VENV := .venv
# The runtime without PyTorch, as it is on a device.
LEAN := .venv-lean
# Ray and Triton's clients; and its server, which wants an older NumPy.
SCALE := .venv-scale
TRITON := .venv-triton
# The site's generator, and the runtime whose help it prints.
DOCS := .venv-docs
# Compiled modules are kept whatever the environment says: hundreds of tests start a process.
PYTEST = PYTHONDONTWRITEBYTECODE= SEGOPT_LEAN_PYTHON=$(CURDIR)/$(LEAN)/bin/python $(VENV)/bin/python -m pytest \
	--numprocesses $(WORKERS) --dist loadgroup

# Processes that run tests. Each takes up to 4 GB of memory, and one core.
WORKERS ?= 2

# Of `make fuzz`: for all classes of inputs together, and what makes its cases the same again.
MINUTES ?= 20
SEED ?=

.PHONY: demo test test-scale check deep lint types unit quick fuzz docs site format clean

demo: $(VENV)/.installed
	$(VENV)/bin/segopt demo

# `check` leaves out what takes longest, for daily work; `deep` is what `test` leaves out: networks that differ from
# tested ones in depth, traced and built too. For releases.
test: lint types unit

check: lint types quick

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed
	$(VENV)/bin/mypy

unit: $(VENV)/.installed $(LEAN)/.installed
	$(PYTEST) -m "not deep"

deep: $(VENV)/.installed $(LEAN)/.installed
	$(PYTEST) -m deep

quick: $(VENV)/.installed $(LEAN)/.installed
	$(PYTEST) -m "not slow and not deep"

# What needs Ray, or a Triton server: 1.5 GB to install, minutes to run.
test-scale: $(SCALE)/.installed $(TRITON)/.installed
	SEGOPT_TRITON_PYTHON=$(CURDIR)/$(TRITON)/bin/python $(SCALE)/bin/python -m pytest \
		tests/runtime/labeling tests/runtime/triton

# Damaged inputs and signals at random; a table, and what failed in tests/fuzz-failures.
fuzz: $(VENV)/.installed
	cd tests && ../$(VENV)/bin/python -m fuzzing --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# The site, in site/, after the notebook was run and said what its page prints. Warnings are errors; nothing is
# fetched but what installs the generator. `site` alone takes the page as it stands.
docs: $(VENV)/.installed
	$(PYTEST) --numprocesses 0 tests/test_notebook.py
	$(MAKE) site

site: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.installed: PACKAGES = '.[dev]'
$(LEAN)/.installed: PACKAGES = '.[cpu]'
$(SCALE)/.installed: PACKAGES = '.[scale-tests]'
$(TRITON)/.installed: PACKAGES = '.[cpu]' nvidia-pytriton 'numpy<2'
$(DOCS)/.installed: PACKAGES = '.[cpu,docs]'

ENVIRONMENTS := $(VENV) $(LEAN) $(SCALE) $(TRITON) $(DOCS)

$(ENVIRONMENTS:%=%/.installed): pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --editable $(PACKAGES)
	touch $@

clean:
	rm -rf $(ENVIRONMENTS) site .mypy_cache .pytest_cache .ruff_cache
