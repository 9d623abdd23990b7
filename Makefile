# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv, from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# warnings stay unsaid, errors do not
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input install -c constraints.txt

.PHONY: demo test ready system lint docs front lab bench chaos fuzz soak ranges newcomer audit clean
.DEFAULT_GOAL := demo
.NOTPARALLEL:

demo: $(VENV)/.demo
	$(BIN)/playhead demo

test: ready
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

# Everything but pytest.
ready: system $(VENV)/.test lint docs
	@if [ -f package.json ]; then $(MAKE) --no-print-directory front; fi

# What the suite starts or calls.
system:
	@.ci/system $(PYTHON) chromium curl git nginx node:nodejs npm prometheus redis-server

$(BIN)/python:
	@.ci/system $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing playhead and what it needs into $(VENV), a minute or two"
	@$(PIP) -e '.[server,notebook]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing playhead and what its suite needs into $(VENV), a minute or two"
	@$(PIP) -e '.[test]'
	@command -v chromium >/dev/null || { echo "installing Playwright's Chromium"; \
	  $(BIN)/playwright install --with-deps chromium >$(VENV)/chromium.log 2>&1; } || { grep -im3 error $(VENV)/chromium.log; \
	  echo "there is no chromium: install it, or run $(BIN)/playwright install --with-deps chromium"; exit 1; }
	@touch $@ $(VENV)/.demo

lint: $(VENV)/.test
	$(BIN)/ruff check package server tests
	$(BIN)/mypy

# The reference, into docs/_build/html; a warning fails it.
docs: $(VENV)/.test
	$(BIN)/sphinx-build -q -W --keep-going -d docs/_build/read docs docs/_build/html

# The widgets: types, unit tests, and the bundles that are checked in; fails when those are not what the sources make.
front:
	npm install --silent --no-audit --no-fund --no-package-lock
	npm run --silent check
	npm test --silent
	npm run --silent build
	@git diff --exit-code --stat -- package/playhead/widgets/static && \
	  test -z "$$(git ls-files --others -- package/playhead/widgets/static)" || \
	  { echo "package/playhead/widgets/static is not what its sources make: commit what \`make front\` built"; exit 1; }

lab: $(VENV)/.demo
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_quickstart.ipynb

bench: $(VENV)/.test
	@for file in tests/benchmarks/bench_*.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

# One server whose readers' lines break; then three servers, a Redis, nginx, readers that hop, and something broken every ten seconds; then what a Redis that forgets does.
chaos: ready
	$(BIN)/python -m tests.endurance
	$(BIN)/python -m tests.chaos --seconds 300 --rate 3000 --readers 24
	$(BIN)/python -m tests.chaos --seconds 90 --every 20 --rate 2000 --readers 8 --faults away
	$(BIN)/python -m tests.chaos --seconds 120 --rate 1000 --readers 8 --faults flush,server,redis,link
	$(BIN)/python tests/benchmarks/bench_cluster.py --only join --join 5000000

# One server and a hundred thousand requests and messages that nobody should send; SEED repeats a run.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED))
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then $(BIN)/python -m tests.fuzz_parsers; else \
	  echo "the parsers are left out: $(BIN)/pip install atheris"; fi

# One server for half an hour, or as long as MINUTES says: memory, descriptors and latency stay flat.
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30)

# The lowest and the newest versions that pyproject.toml allows, each in an environment of its own.
ranges: $(VENV)/.test
	$(BIN)/python -m tests.ranges

# README.md and the guides, typed word for word in a fresh clone with a fresh environment.
newcomer: $(VENV)/.test
	$(BIN)/python -m tests.newcomer

# Known vulnerabilities of the recorded set of dependencies; it asks the package index about each.
audit: $(BIN)/python
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip -q install pip-audit; }
	$(VENV)/audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --strict

clean:
	rm -rf $(VENV) node_modules dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find package server tests -name __pycache__ -prune -exec rm -rf {} +
