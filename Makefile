# Every target sets up what it needs in .venv. `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
READERS := $(VENV)/.installed-manifests
LIBRARIES := .venv-libraries
TESTS ?= tests
ROUNDS ?= 1000
MINUTES ?= 4
TARGET ?= test
SECONDS ?= 60
SEEDS ?= 10000
JOBS ?= 3
test-long: JOBS := 4 # the nemesis waits in one of them
PROOF := tests/simulator tests/faults tests/kills tests/nemesis tests/lakefs/test_lakefs_races.py tests/lakefs/test_lakefs_fault_sweep.py
FACTS := $(wildcard tests/lakefs/test_facts_*.py)
OLD_LAKEFS := 1.84.0
AT_LENGTH = PERAGO_PROVE=full PERAGO_TEST_SCHEDULES=$(SEEDS) PERAGO_TEST_KILLS=500 PERAGO_TEST_RACES=1000 \
	PERAGO_TEST_REFERENCE_RACES=200 PERAGO_TEST_NEMESIS_MINUTES=$(MINUTES)
PIP_OF = $(1)/bin/python -m pip --disable-pip-version-check --quiet
PIP := $(call PIP_OF,$(VENV))
PIN := uv pip compile --generate-hashes --no-strip-extras --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --quiet
COMPILE := $(PIN) pyproject.toml --extra lakefs --extra conductor
KUBERNETES := 1.29.0 1.32.0 1.37.0

# The long tests of Conductor run on PostgreSQL, the quick ones on SQLite.
test-long nemesis prove: export PERAGO_TEST_CONDUCTOR_DATABASE ?= postgres

# The tests start hundreds of interpreters: without cached bytecode each one compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup quickstart test test-long test-all libraries units environments units-environments facts cov docs links bench nemesis prove \
	races simulate fuzz check lint types layers manifests format package lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(DEV) ## Create .venv with Perago and all its tools

quickstart: $(RUN) ## Run the example tasks on real data in ./quickstart
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/quickstart.sh quickstart

test: $(DEV) ## Run the quick tests, also on real servers: ten minutes (TESTS=path for all tests of a path, JOBS=0 for one process)
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(TESTS) $(if $(filter tests,$(TESTS)),-m 'not long')

test-long: $(DEV) ## Run the tests that `make test` leaves out, and check the figures of docs/reliability.md: half an hour
	$(if $(PERAGO_TEST_SHARE),,PERAGO_PROVE=short) $(BIN)/pytest -n $(JOBS) --dist worksteal tests -m 'long or both'

test-all: test test-long ## Run all tests

libraries: $(LIBRARIES)/.installed ## Run the tests with pandas, scikit-learn, joblib, DuckDB, h5py and dask, in an environment of their own (TESTS=path)
	$(LIBRARIES)/bin/pytest -n 2 --dist loadgroup $(or $(filter-out tests,$(TESTS)),tests/libraries)

units: ## Run the unit tests on each installed Python from 3.11 on, and on the newest (PYTHONS=names for some, EXCEPT=3.11)
	@PYTHONS='$(PYTHONS)' EXCEPT='$(EXCEPT)' .ci/units $(AGAIN)

environments: $(DEV) $(LIBRARIES)/.installed units-environments # all of CI's, side by side with --jobs

units-environments:
	@.ci/units --environments

facts: $(DEV) ## Run the tests that pin lakeFS's behaviour, on an old release and then on the present one
	PERAGO_TEST_LAKEFS_VERSION=$(OLD_LAKEFS) $(BIN)/pytest -n $(JOBS) --dist worksteal $(FACTS)
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(FACTS)

cov: $(DEV) ## Run the tests, in twice the time, and write their line coverage to htmlcov/ (TESTS=path)
	@rm -f .coverage .coverage.*
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(TESTS) --cov --cov-report=term --cov-report=html

docs: $(DEV) ## Build docs/ into build/docs; warnings and broken links are errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --write-all docs build/docs
	@echo "See build/docs/index.html"

links: $(DEV) ## Check the links of docs/ to other sites (needs the network)
	$(BIN)/sphinx-build --quiet --builder linkcheck docs build/links

bench: $(RUN) ## Measure into benchmarks/RESULTS.md (BENCH_ONLY=git for one part, BENCH=directory to work in)
	$(BIN)/python -m benchmarks $(BENCH_ONLY) $(if $(BENCH),--directory $(BENCH))

nemesis: $(DEV) ## Kill, pause, disconnect and restart real workers and servers, then check the result (MINUTES=4, SEED=N)
	PERAGO_TEST_NEMESIS_MINUTES=$(MINUTES) $(if $(SEED),PERAGO_TEST_NEMESIS_SEED=$(SEED)) \
		$(BIN)/pytest --quiet --capture=no tests/nemesis/test_nemesis.py

prove: $(DEV) ## Measure and check the figures of docs/reliability.md: an hour (SHORT=1 as in `make test`, MINUTES=60 of nemesis)
	$(if $(SHORT),PERAGO_PROVE=short,$(AT_LENGTH)) $(BIN)/pytest --quiet -n $(JOBS) --dist worksteal $(PROOF)

races: $(DEV) ## Race five writers and a person on a real lakeFS, and check the history (ROUNDS=1000)
	$(BIN)/python -m tests.lakefs.race --rounds $(ROUNDS)

fuzz: $(DEV) ## Search for inputs that break a parser, guided by coverage (TARGET=stamps, SECONDS=60 for each)
	@$(PIP) install 'atheris>=3,<4'
	PYTHONPATH=tests/support $(BIN)/python -m tests.fuzz.fuzz '$(TARGET)' --seconds $(SECONDS)

simulate: $(DEV) ## Simulate schedules and check each (SEEDS=10000, or SEEDS=100:200, CORES=1 for one core)
	@$(BIN)/python -m simulation $(SEEDS) $(if $(CORES),--jobs $(CORES))

check: lint types layers ## Check lint, types and layering

lint: $(DEV) ## Check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV) ## Check types
	$(BIN)/mypy

layers: $(DEV) ## Check that dependencies point one way
	$(BIN)/lint-imports

manifests: $(READERS) ## Check deploy/ with hadolint and the schemas of three versions of Kubernetes
	$(BIN)/hadolint deploy/Dockerfile
	@for version in $(KUBERNETES); do \
		$(BIN)/kubernetes-validate --strict -k $$version deploy/kubernetes/worker.yaml || exit 1; done

format: $(DEV) ## Format the code and fix lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

package: $(DEV) ## Build wheel and sdist into dist/
	@rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -t wheel -d dist

lock: ## Pin the dependencies again (needs uv)
	$(COMPILE) --upgrade --extra otel --extra lineage --extra ui --group dev --output-file requirements/dev.txt
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/run.txt
	$(COMPILE) --extra otel --extra lineage --extra ui --constraints requirements/dev.txt --output-file requirements/image.txt
	$(COMPILE) --extra otel --extra lineage --extra ui --group units --constraints requirements/dev.txt --output-file requirements/units.txt
	$(PIN) --group manifests --constraints requirements/dev.txt --output-file requirements/manifests.txt
	$(PIN) pyproject.toml --extra ui --group libraries --constraints requirements/dev.txt --output-file requirements/libraries.txt

clean: ## Remove all generated files, including .venv
	rm -rf $(VENV) $(LIBRARIES) quickstart dist build htmlcov .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python $(LIBRARIES)/bin/python: %/bin/python:
	@python=$$(.ci/find-python) && echo "Making $* with $$python" && "$$python" -m venv $*

$(RUN): requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing Perago's runtime dependencies"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing Perago and its development dependencies"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUN)

$(READERS): requirements/manifests.txt | $(BIN)/python
	@echo "Installing the linters for deploy/"
	@$(PIP) install --require-hashes -r requirements/manifests.txt
	@touch $@

$(LIBRARIES)/.installed: requirements/libraries.txt pyproject.toml | $(LIBRARIES)/bin/python
	@echo "Installing Perago and the libraries of tests/libraries"
	@$(call PIP_OF,$(LIBRARIES)) install --require-hashes -r requirements/libraries.txt
	@$(call PIP_OF,$(LIBRARIES)) install --no-deps --no-build-isolation --editable .
	@touch $@
