# Needs make, and Python 3.11 or newer with its venv module. Everything else goes into .venv.
#
#   make demo            see it working; ONCE=1 ends after the six steps and says whether all were right
#   make test            style, types, and every test in its short form (under ten minutes on two cores)
#   make test-long       the randomised runs in their long form
#   make bench           direct, a bare passthrough and the proxy, side by side
#   make compiled        the order's path compiled ahead of time, in .venv-compiled (needs a C compiler)
#   make count           instructions per order of the same subjects (needs valgrind)
#   make check           style, types, and the tests that compare code and documents
#   make clients         the environments of the real clients that the tests drive
#   make chromium        the browser that the console's tests drive (Debian's package; asks for root)
#   make screenshots     pictures of every block of the console, in build/screenshots
#   make clean           remove what these made

SHELL := /bin/bash
# Compiled modules are kept, whatever the environment says (`make clean` removes them): hundreds of tests start
# a process, and each would compile the whole program again, and every run the tests.
unexport PYTHONDONTWRITEBYTECODE
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNTIME := $(VENV)/.installed-runtime
# A test waits as long as it computes, so two cores have time for twice as many at once; long runs only compute.
JOBS ?= 4
JOBS_LONG ?= 2
ONCE ?=
PYTEST_ARGS ?=

# The first of these that exists and is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3.14 python3; do \
	if command -v $$name >/dev/null 2>&1 \
	&& $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$name; break; fi; done)

.PHONY: demo test test-long bench count compiled check chromium screenshots clean clients style types install
.DEFAULT_GOAL := help

help:
	@sed -n '/^#   make/s/^#   //p' Makefile
.PHONY: help

install: $(STAMP)

# What the program itself needs: enough for the demo. Made again whenever the dependencies may have changed.
$(RUNTIME): pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "riskgate needs Python 3.11 or newer with its venv module (on Debian: python3-venv); none was found." >&2; \
			echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
		fi; \
		echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); \
	fi
	@echo "installing riskgate and what it needs into $(VENV); the first time takes a minute"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# The first pip that knows --group is 25.1.
$(STAMP): $(RUNTIME)
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

demo: $(RUNTIME)
	@$(BIN)/riskgate demo $(if $(ONCE),--once)

style: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# tests/clients/clients.mk, where it exists, adds its own recipes to this double-colon rule.
clients:: $(STAMP)
-include tests/clients/clients.mk

test: style types clients
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q -m "not long" $(PYTEST_ARGS)

test-long: clients compiled
	$(BIN)/python -m pytest -n $(JOBS_LONG) -q -m long --timeout 0 $(PYTEST_ARGS)

check: style types
	$(BIN)/python -m pytest -q tests/test_tidy.py tests/test_docs.py tests/test_packaging.py

# The compiled build is a wheel in an environment of its own: the checkout never holds an extension module,
# which would hide every later change of its source.
COMPILED ?= .venv-compiled
COMPILED_STAMP := $(COMPILED)/.installed
SOURCES := $(shell find proxy rules -name '*.py') pyproject.toml hatch_build.py

compiled: $(COMPILED_STAMP)

$(COMPILED_STAMP): $(SOURCES) | $(STAMP)
	@echo "compiling the order's path into $(COMPILED); this takes a minute or two"
	@rm -rf $(COMPILED)/wheel; mkdir -p $(COMPILED)/wheel
	@[ -x $(COMPILED)/bin/python ] || $(BIN)/python -m venv --clear $(COMPILED)
	@mkdir -p $(COMPILED)/wheel
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(BIN)/python -m pip wheel --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --wheel-dir $(COMPILED)/wheel .
	@$(BIN)/python -m pip --python $(COMPILED)/bin/python install --quiet --disable-pip-version-check \
		--force-reinstall --no-deps $(COMPILED)/wheel/*.whl
	@$(BIN)/python -m pip --python $(COMPILED)/bin/python install --quiet --disable-pip-version-check \
		"$$(echo $(COMPILED)/wheel/*.whl)[speed]"
	@touch $@

# What wheels and the image hold is the compiled build: it is measured wherever there is a compiler to make it.
bench: $(STAMP) $(if $(shell command -v cc 2>/dev/null),compiled)
	$(BIN)/python -m bench

count: $(STAMP)
	$(BIN)/python -m bench.count

# The tests take the browser from the PATH and are skipped, saying so, where there is none.
chromium:
	@if command -v chromium >/dev/null 2>&1; then chromium --version; \
	else echo "installing chromium; this asks for root" && apt-get install -y --no-install-recommends chromium; fi

screenshots: $(STAMP)
	@$(BIN)/python -P -c "import sys; sys.path.insert(0, '.'); sys.argv = ['', 'build/screenshots']; import runpy; runpy.run_module('tests.ui.screenshots', run_name='__main__')"

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find proxy rules tests -name __pycache__ -type d -prune -exec rm -rf {} +
