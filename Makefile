# Central Hub. `make help` lists what there is; `make run` and `make test` need only python3, venv, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
ARGS   ?=
# How many test processes; benchmarks and timing tests always run alone, afterwards.
JOBS   ?= 2
# nginx, prometheus, wrk, curl, PostgreSQL, NATS and Redis that the tests need and the machine has not are unpacked below
# .tools, nothing is installed; a current NATS where there is Go, Kafka where there are Java and Maven.
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/local/sbin:/usr/sbin:/sbin:$(CURDIR)/.tools/usr/sbin:$(CURDIR)/.tools/usr/bin

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
SOURCES      := src tests tools $(wildcard benchmarks examples)

# $(call tests,<marks>,<options>): what fails beside others on a busy machine is run once more, alone and said aloud;
# a test that fails then, too, fails the run at once. CPython's own `regrtest --rerun` has the same rule.
define tests
$(BIN)/pytest -q -m $(1) $(2) || { test $$? -eq 1 && echo "== what failed is run once more, alone ==" && \
$(BIN)/pytest -q -x --last-failed --last-failed-no-failures none -m $(1); }
endef

.DELETE_ON_ERROR:
.PHONY: help run test lint format types imports pytest bench slow contracts lock wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.server ## start a hub with the demo platform; ARGS="--for 30" passes options on
	@$(BIN)/central-hub demo $(ARGS)

test: lint pytest ## everything: lint, types, import contracts, tests, short benchmarks

lint: $(VENV)/.dev ## style, types and import contracts
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

pytest: $(VENV)/.dev $(VENV)/.system $(VENV)/.clients $(VENV)/.browser
	$(call tests,"not timing and not bench and not slow",-n $(JOBS) --dist loadfile)
	$(call tests,"(timing or bench) and not slow",)

slow: $(VENV)/.dev $(VENV)/.system $(VENV)/.clients $(VENV)/.browser ## the full forms of tests that have a short form in `make test`
	$(BIN)/pytest -q -m slow --timeout 3600

bench: $(VENV)/.dev $(VENV)/.system $(VENV)/.peers ## every benchmark in full, with its report
	$(BIN)/python -m benchmarks --full $(ARGS)

contracts: $(VENV)/.dev ## write what is derived from the code: OpenAPI and the reference pages
	$(BIN)/python -m tools.contracts

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: $(VENV)/.dev ## resolve the dependencies again and write the lock files
	$(BIN)/uv pip compile pyproject.toml requirements/build.in --extra dev --upgrade $(LOCK_OPTIONS) -o requirements/dev.lock
	$(BIN)/uv pip compile pyproject.toml requirements/build.in --extra server --extra postgres --extra nats --extra redis --extra kafka -c requirements/dev.lock --upgrade $(LOCK_OPTIONS) -o requirements/server.lock

wheel: $(VENV)/.dev ## build the distribution into dist/
	$(PIP) wheel --quiet --no-deps --no-build-isolation -w dist .

clean: ## remove everything that was made here
	rm -rf $(VENV) .tools build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Central Hub needs Python 3.11 or newer; say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# Everything installed is named with its hash; the package itself is built by the locked backend, not a downloaded one.
$(VENV)/.server: requirements/server.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/server.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/dev.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.server

$(VENV)/.system: tools/system_programs.py tools/broker_servers.py | $(BIN)/python
	$(BIN)/python -m tools.system_programs nginx prometheus wrk curl postgres
	$(BIN)/python -m tools.broker_servers
	@touch $@

# Libraries that benchmarks measure beside; whoever has no index to get them from is told which were left out.
$(VENV)/.peers: requirements/benchmarks.txt $(VENV)/.dev
	$(PIP) install --quiet --require-hashes -r requirements/benchmarks.txt || echo "left out of the benchmarks: $<"
	@touch $@

# OpenFeature's JavaScript providers, for tests: only where there is npm, or else their tests say that they were left out.
$(VENV)/.clients: tests/openfeature/clients/package.json tests/openfeature/clients/package-lock.json | $(BIN)/python
	@mkdir -p $(VENV)/clients && cp $^ $(VENV)/clients/
	@if command -v npm > /dev/null; then cd $(VENV)/clients && npm ci --silent --no-audit --no-fund; \
	else echo "npm is not here: tests of OpenFeature's JavaScript providers and of the AsyncAPI document are left out"; fi
	@touch $@

# Chromium for the provider that runs in browsers: 290 MB unpacked, so only where the providers can be, too.
$(VENV)/.browser: tools/system_programs.py | $(BIN)/python
	@if command -v npm > /dev/null; then \
	$(BIN)/python -m tools.system_programs chromium-headless-shell || echo "tests in a browser are left out"; fi
	@touch $@
