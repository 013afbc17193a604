# SPDX-License-Identifier: Apache-2.0
# You need Python 3.11, 3.12 or 3.13, git and make. The first target that needs anything else installs it into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export UV_PYTHON_DOWNLOADS := never
# The tests start Airflow often. A start takes twice as long if Python has to compile Airflow first.
export UV_COMPILE_BYTECODE := 1
# Without cached bytecode, each process of a test run compiles all tests again.
export PYTHONDONTWRITEBYTECODE :=
export KEEP

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
JOBS ?= 4
PYTEST_ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ----------------------------------------------------------------------------------------------------------- set-up
$(VENV)/.uv-ready: requirements/uv.txt
	@python=; \
	for candidate in $${PYTHON:-} python3 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11, 3.12 or 3.13 is needed (tried: $${PYTHON:-} python3 python3.13 python3.12 python3.11)" >&2; exit 1; fi; \
	if ! [ -x $(BIN)/pip ]; then "$$python" -m venv $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.dev-ready: $(VENV)/.uv-ready requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV) (once; a minute or two on a new machine)"
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.real-ready: $(VENV)/.dev-ready requirements/real.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/real.txt
	@touch $@

$(VENV)/.docs-ready: $(VENV)/.dev-ready requirements/docs.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/docs.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/.dev-ready ## install into .venv what `make test` needs

.PHONY: lock
lock: $(VENV)/.uv-ready ## resolve the hashed requirement files again
	@mkdir -p requirements
	@$(UV) pip compile $(LOCK_ARGS) --group dev --output-file requirements/dev.txt pyproject.toml
	@$(UV) pip compile $(LOCK_ARGS) --group dev --group docs --group real --constraint requirements/dev.txt --output-file requirements/real.txt pyproject.toml
	@$(UV) pip compile $(LOCK_BASE) --extra aiohttp --group peers --output-file requirements/peers.txt pyproject.toml
	@$(UV) pip compile $(LOCK_BASE) --group docs --constraint requirements/real.txt --output-file requirements/docs.txt
	@echo 'uv>=0.8' | $(UV) pip compile $(LOCK_BASE) --output-file requirements/uv.txt -

LOCK_BASE := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"
LOCK_ARGS := $(LOCK_BASE) --extra emulator --extra aiohttp --extra excel --extra media

# ----------------------------------------------------------------------------------------------------------- checks
.PHONY: lint
lint: $(VENV)/.dev-ready ## check rules and format with ruff, and the spelling with codespell
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select AIR .
	$(BIN)/ruff format --check .
	$(BIN)/codespell .github airflow_provider_jimeng benchmarks docs example_dags *.md

.PHONY: format
format: $(VENV)/.dev-ready ## repair rules and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: typecheck
typecheck: $(VENV)/.real-ready ## check types with mypy in strict mode
	$(BIN)/mypy

# `make test` and `make matrix` test the wheel. PYTHONPATH puts the wheel before the source tree, which the editable install
# puts last for `import tests`. PYTHONSAFEPATH removes the working directory from the path.
WHEEL := build/wheel
TEST_WHEEL := PYTHONPATH=$(CURDIR)/$(WHEEL) PYTHONSAFEPATH=1
PACKAGE_FILES = $(shell find airflow_provider_jimeng -name __pycache__ -prune -o -type f -print)

$(WHEEL)/.ready: $(VENV)/.dev-ready hatch_build.py README.md $(PACKAGE_FILES)
	@rm -rf $(WHEEL) build/wheel-dist
	@$(BIN)/hatchling build --target wheel --directory build/wheel-dist >/dev/null
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --target $(WHEEL) build/wheel-dist/*.whl
	@touch $@

.PHONY: test
test: $(WHEEL)/.ready ## run the tests that need only Python, on the built wheel, with branch coverage
	@rm -rf build/coverage && mkdir -p build/coverage
	$(TEST_WHEEL) $(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal --ignore=tests/browser $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --include='airflow_provider_jimeng/core/*' --fail-under=100 | tail -n 1

.PHONY: test-real
test-real: test-browser test-real-rest ## run the tests that need chromium, PostgreSQL and Redis

# The browser tests need their own process, because playwright keeps an event loop running in it.
.PHONY: test-browser
test-browser: $(VENV)/.real-ready ## run the tests of test-real that need a browser
	$(BIN)/pytest -m "real and not nightly" tests/browser $(PYTEST_ARGS)

.PHONY: test-real-rest
test-real-rest: $(VENV)/.real-ready ## run the tests of test-real that need no browser, two files at a time
	$(BIN)/pytest -n 2 --dist loadfile -m "real and not chaos and not cluster and not nightly" --ignore=tests/browser $(PYTEST_ARGS)

.PHONY: test-chaos
test-chaos: $(VENV)/.real-ready ## run the rows of the chaos table that kill processes, on a real Airflow with PostgreSQL
	$(BIN)/pytest -m chaos $(PYTEST_ARGS)

# COUNT sets the number of renders of the next two targets.
COUNT ?=
export COUNT

.PHONY: cluster-test
cluster-test: $(VENV)/.real-ready ## run COUNT=60 renders to S3 on Celery, PostgreSQL and Redis, and kill processes; .ci/run uses COUNT=16
	$(BIN)/pytest -m cluster $(PYTEST_ARGS)

.PHONY: chaos-many
chaos-many: $(VENV)/.real-ready ## run COUNT=200 mapped renders on a real Airflow, and kill a triggerer; test-chaos runs 12 renders
	$(BIN)/python -m tests.chaos.many $(or $(COUNT),200)

# OUTAGES="killed frozen" performs only these outages of tests/chaos/outages.py.
OUTAGES ?=
.PHONY: outages
outages: $(VENV)/.real-ready ## stop servers while tasks pay, on a real Airflow; OUTAGES=killed runs one; test-chaos runs the shortest
	$(BIN)/python -m tests.chaos.nightly $(OUTAGES)

.PHONY: test-nightly
test-nightly: $(VENV)/.real-ready ## the variants of proofs whose shortest form is in test-real
	$(BIN)/pytest -m nightly tests/browser $(PYTEST_ARGS)
	$(BIN)/pytest -n 2 --dist loadfile -m nightly --ignore=tests/browser $(PYTEST_ARGS)

.PHONY: nightly
nightly: test-nightly outages chaos-many cluster-test matrix matrix-browser ## run all long tests, which takes hours; make -k nightly continues after a failure

# ----------------------------------------------------------------------------------------------------------- matrix
# ONLY="2.11 3.0" runs only these versions of requirements/matrix.toml. PYTEST_ARGS is passed to pytest.
ONLY ?=

.PHONY: matrix
matrix: $(WHEEL)/.ready ## run all tests on every supported Airflow; ONLY=3.0 runs one of them
	$(BIN)/python -m tests.harness.matrix run --jobs $(JOBS) --pytest='$(PYTEST_ARGS)' $(ONLY)

.PHONY: matrix-fast
matrix-fast: $(WHEEL)/.ready ## run the tests that depend on Airflow, on the oldest and the newest
	$(BIN)/python -m tests.harness.matrix run --fast --jobs $(JOBS) --pytest='$(PYTEST_ARGS)' $(ONLY)

.PHONY: matrix-browser
matrix-browser: $(WHEEL)/.ready ## run the browser tests with the UI of each older Airflow that has our pages; ONLY=3.1 runs one
	$(BIN)/python -m tests.harness.matrix run --browser --pytest='$(PYTEST_ARGS)' $(ONLY)

.PHONY: lock-matrix
lock-matrix: $(WHEEL)/.ready ## resolve the hashed requirement files of the matrix again
	$(BIN)/python -m tests.harness.matrix lock $(ONLY)

# ------------------------------------------------------------------------------------------------------- benchmarks
PEERS := build/peers
$(PEERS)/.ready: $(VENV)/.uv-ready requirements/peers.txt pyproject.toml
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(PEERS)
	@$(UV) pip sync --quiet --python $(PEERS)/bin/python --require-hashes requirements/peers.txt
	@$(UV) pip install --quiet --python $(PEERS)/bin/python --no-deps --editable .
	@touch $@

BENCH_ARGS ?=
.PHONY: bench-triggers
bench-triggers: $(PEERS)/.ready ## measure the CPU time of a poll, beside other providers in a separate environment
	$(PEERS)/bin/python benchmarks/trigger_cpu.py $(BENCH_ARGS)

.PHONY: bench-path
bench-path: $(VENV)/.dev-ready ## measure what one render passes through, and the size of the project; fails beyond the limits
	$(BIN)/python benchmarks/render_path.py $(BENCH_ARGS)

# ------------------------------------------------------------------------------------------------------------- docs
.PHONY: docs-tables
docs-tables: $(VENV)/.dev-ready ## write the tables of the READMEs and docs/ from the code
	$(BIN)/python docs/tables.py

# Sphinx reads the docstrings, so it imports Airflow, which writes its own files into AIRFLOW_HOME.
SPHINX = AIRFLOW_HOME=$(CURDIR)/build/docs-airflow AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING $(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going --conf-dir docs

.PHONY: docs-translations
docs-translations: $(VENV)/.docs-ready ## merge changed messages of the documents into the .po files in docs/locale
	@rm -rf build/gettext build/doctrees
	$(SPHINX) --builder gettext --doctree-dir build/doctrees/gettext . build/gettext
	$(BIN)/python docs/translations.py

.PHONY: docs
docs: $(VENV)/.docs-ready ## build the site in build/docs, in English and Chinese; stale tables and dead links fail
	$(BIN)/python docs/tables.py --check
	@rm -rf build/docs build/gettext build/doctrees # a page that is new in docs/conf.py would be missing in cached contents
	$(SPHINX) --builder gettext --doctree-dir build/doctrees/gettext . build/gettext
	$(BIN)/python docs/translations.py --check
	$(SPHINX) --doctree-dir build/doctrees/en . build/docs
	DOCS_LANGUAGE=zh_CN $(SPHINX) --doctree-dir build/doctrees/zh . build/docs/zh

# ------------------------------------------------------------------------------------------------------------- demo
# The recipe is one plain command, so that make starts it without a shell and passes SIGTERM to it.
.PHONY: demo
demo: $(VENV)/.dev-ready ## run a campaign on a real Airflow against the emulator; KEEP=1 keeps the UI running
	@$(BIN)/python -m tests.harness.demo

# ------------------------------------------------------------------------------------------------------------ build
.PHONY: build
build: $(VENV)/.dev-ready ## build wheel and sdist in dist/
	@rm -rf dist
	$(BIN)/hatchling build

.PHONY: clean
clean: ## remove all generated files
	rm -rf $(VENV) .jimeng-demo .jimeng-test build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
