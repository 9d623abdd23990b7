# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv, from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_AS_ROOT := $(shell if [ "$$(id -u)" = 0 ]; then echo; elif command -v sudo >/dev/null; then echo sudo -n; else echo false; fi)

.PHONY: demo test lab bench lint clean front system
.DEFAULT_GOAL := demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "playhead needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(RUN_AS_ROOT) apt-get update -qq; \
	  $(RUN_AS_ROOT) apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || \
	  { echo "python3 -m venv does not work: install the package python3-venv"; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[server,notebook]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/playhead demo

lab: $(VENV)/.demo
	$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

# Chromium, Redis and Node by apt where that is allowed; else a list of what is missing.
system:
	@missing=""; for pair in chromium:chromium redis-server:redis-server node:nodejs npm:npm; do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  { $(RUN_AS_ROOT) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(RUN_AS_ROOT) apt-get install -y -qq $$missing >/dev/null; } || \
	  { echo "the suite needs these packages, and they cannot be installed from here:$$missing"; exit 1; }; \
	fi

lint: $(VENV)/.test
	$(BIN)/ruff check package server tests
	$(BIN)/mypy

test: system $(VENV)/.test lint
	@if [ -f package.json ]; then $(MAKE) --no-print-directory front; fi
	$(BIN)/python -m pytest -q

front:
	npm install --silent --no-audit --no-fund --no-package-lock
	npm run --silent check
	npm test --silent
	npm run --silent build
	git diff --exit-code -- package/playhead/widgets/static

bench: $(VENV)/.test
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file; done

clean:
	rm -rf $(VENV) node_modules dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
