# make setup | test | test-all | test-editors | lint | run | docs | bench | soak | fuzz | clean. Needs Python >= 3.11 with venv, Node >= 20 with npm, git.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LEGACY := .venv/servers-legacy
PYRIGHT := tests/node_modules/.bin/pyright
# How many processes share the tests, which wait more than they work; `make test JOBS=0` runs them in one.
JOBS ?= 5

# A user's own pip settings choose the index, but must not move the packages out of the environment.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := 0
export PIP_REQUIRE_VIRTUALENV := 0
# The tests start some hundred brokers: none has to compile what an earlier one did.
unexport PYTHONDONTWRITEBYTECODE

DEV_STAMP := .venv/.dev.stamp
LEGACY_STAMP := .venv/.legacy.stamp
NODE_STAMP := tests/node_modules/.stamp
SDK_JS := sdk-js/dist/index.js
STAMPS := $(DEV_STAMP) $(LEGACY_STAMP) $(NODE_STAMP) $(SDK_JS)

.PHONY: setup read test test-all test-editors lint run docs bench soak fuzz clean
.DELETE_ON_ERROR:

setup:
	@$(MAKE) --silent --no-print-directory -j3 $(STAMPS)

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "broker needs Python 3.11 or newer"'
	$(PYTHON) -m venv .venv

$(DEV_STAMP): pyproject.toml sdk-python/pyproject.toml | .venv/bin/python
	@echo 'setup: .venv'
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --editable ./sdk-python
	@touch $@

$(LEGACY_STAMP): tests/servers-legacy.txt | .venv/bin/python
	@echo 'setup: $(LEGACY)'
	$(BIN)/python -m venv $(LEGACY)
	$(LEGACY)/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(NODE_STAMP): tests/package.json tests/package-lock.json
	@echo 'setup: tests/node_modules'
	cd tests && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Every type of it is checked by the way.
$(SDK_JS): $(NODE_STAMP) sdk-js/package.json sdk-js/tsconfig.json $(wildcard sdk-js/src/*.ts sdk-js/src/*/*.ts)
	@echo 'setup: sdk-js'
	cd sdk-js && PATH="$(CURDIR)/tests/node_modules/.bin:$$PATH" npm run --silent build
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYRIGHT) --project pyproject.toml

# Pytest rewrites the tests before it runs them. Begun beside the lint, which keeps one core busy, that is done once for
# all its processes. It is not waited for, and what is wrong is said by the run itself.
read: setup
	@$(BIN)/python -m pytest -q -n 0 --collect-only >/dev/null 2>&1 &

test: read lint
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope -m "not long and not editors"

# Rust with its WASM target comes from Debian's packages where the machine's own has none; elsewhere its test is skipped.
test-all: read lint
	-@sh tests/setup-rust.sh
	HYPOTHESIS_PROFILE=default $(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope -m "not editors"

# Real editors: a Debian machine fetches them into .editors/, some 2 GB, the first time; nothing is installed.
test-editors: setup
	sh tests/editors/setup/terminal.sh
	sh tests/editors/setup/claude.sh
	sh tests/editors/setup/emacs.sh
	sh tests/editors/setup/vscode.sh
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope -m editors

run: setup
	$(BIN)/python -m tests.demo

# build/site: the pages of broker/docs, of the operations of the host, and of the errors.
docs: setup
	$(BIN)/python -m tests.docs.site

bench: setup
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.authors

MINUTES ?= 5
soak: setup
	BROKER_TEST_KILLS=500 $(BIN)/python -m pytest -q --timeout 1800 tests/hostile/test_orphans.py
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

SECONDS ?= 60
fuzz: setup
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

clean:
	rm -rf .venv .editors tests/node_modules sdk-js/dist build dist .pytest_cache .ruff_cache .hypothesis
	find broker sdk-python tests -name __pycache__ -type d -prune -exec rm -rf {} +
