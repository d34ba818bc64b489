# `make` alone lists what there is. Every target builds what it needs first.

PYTHON ?= python3
EXTRAS := agent,bridge,trainer,dask,mlflow,plot,demo,docs,dev
KAFKA_JARS := .cache/kafka
ARGS ?=
FAULTS ?= 100
SEED ?= 1

# Tests that may be skipped in CI (parts of their node ids, with the reason beside them). Any other skip fails there.
ALLOWED_SKIPS :=
export ALLOWED_SKIPS

ifneq ($(wildcard ../shared/data),)
export RINGMAIN_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/benchmarks/emhass),)
export RINGMAIN_PROBLEMS ?= $(abspath ../shared/benchmarks/emhass)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo setup servers test test-fast test-integration test-end-to-end chaos check fix docs lock build clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo  ## the whole ring on this machine, without any server installed; ARGS="--duration 90"
	@.venv/bin/ringmain-simulate demo $(ARGS)

setup: .venv/.ready  ## the virtual environment .venv with everything in it

servers:  ## what the tests need: Mosquitto, Prometheus, Java, Maven, libfaketime (system packages), Kafka's jars (.cache/kafka)
	@tests/servers/install.sh
	@$(MAKE) --silent $(KAFKA_JARS)/.ready

test: setup servers check  ## check, then every test in one run; in CI a skip that is not on the list fails
	.venv/bin/pytest --numprocesses=2 --dist=loadfile $(ARGS)

test-fast: .venv/.ready  ## unit, property and case tests; ARGS="-k topics"
	.venv/bin/pytest $(wildcard tests/unit tests/property tests/cases) $(ARGS)

test-integration: .venv/.ready servers  ## each part with its real neighbor
	.venv/bin/pytest tests/integration $(ARGS)

test-end-to-end: .venv/.ready servers  ## all parts as processes, with the real servers
	.venv/bin/pytest tests/end_to_end $(ARGS)

chaos: .venv/.ready servers  ## faults by chance on the real servers under load; FAULTS=100 SEED=1
	@PYTHONPATH=tests .venv/bin/python -m chaos --faults $(FAULTS) --seed $(SEED) $(ARGS)

check: .venv/.ready  ## format, lint, types, who imports whom
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy tests benchmarks docs
	.venv/bin/lint-imports

fix: .venv/.ready  ## format, and repair what the linter can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/.ready  ## the pages as a site, into .cache/site; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict
	@echo "Open .cache/site/index.html. With search: $(PYTHON) -m http.server --directory .cache/site"

lock:  ## resolve all dependencies afresh and rewrite constraints.txt
	@$(call require_python)
	@rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	@.cache/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]" \
	    "$$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')"
	@.cache/lock/bin/python -m pip list --disable-pip-version-check --format=freeze --exclude-editable \
	    --exclude pip --exclude setuptools --exclude wheel | LC_ALL=C sort -f > .cache/constraints.txt
	@mv .cache/constraints.txt constraints.txt && rm -rf .cache/lock
	@echo "constraints.txt: $$(wc -l < constraints.txt) packages; run the tests before you commit it"

build: .venv/.ready  ## the wheel, into dist/
	@.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls -1 dist

clean:  ## remove everything that make has made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define require_python
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
    echo "Ringmain needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
    echo "Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
    echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
endef

# A .venv without a working pip (interrupted, moved, another Python) is made anew.
define install
@$(call require_python)
@.venv/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
@echo "Installing into .venv (a minute or two the first time) ..."
@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt .venv/bin/python -m pip install --quiet \
    --disable-pip-version-check --editable ".[$(1)]"
endef

.venv/.ready: pyproject.toml constraints.txt
	$(call install,$(EXTRAS))
	@touch .venv/.demo $@

.venv/.demo: pyproject.toml constraints.txt
	$(call install,demo)
	@touch $@

$(KAFKA_JARS)/.ready: tests/kafka/pom.xml
	@echo "Copying Apache Kafka's jars into $(KAFKA_JARS) ..."
	@rm -rf $(KAFKA_JARS)
	@mvn --quiet --batch-mode --file tests/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
	    -DoutputDirectory="$(CURDIR)/$(KAFKA_JARS)"
	@touch $@
