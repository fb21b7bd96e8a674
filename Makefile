# Everything a contributor runs. `make` alone lists the targets.
#
#   make setup PYTHON=python3.12        another interpreter (3.11 or newer)
#   make setup PIP_FLAGS="--find-links wheels"   flags for pip, for instance where to take a CPU build of torch from
#   make bench BENCH="--data DIR"       what benchmarks.training is told (benchmarks/README.md)

PYTHON ?= python3
PIP_FLAGS ?=
BENCH ?= --sizes 1e5,1e6
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# See training/__main__.py: threads that spin while they wait make a busy machine crawl.
export OMP_WAIT_POLICY ?= passive
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
TYPED := model_store service training client benchmarks tools tests/model_store tests/packaging tests/docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check format serve test-slow fuzz bench smoke-compose check-deploy clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything: service, trainer, development tools
	@echo "Ready: $(VENV)"

$(STAMP): pyproject.toml client/pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	@test -x $(BIN)/python || { echo "Making $(VENV)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@echo "Installing the packages of pyproject.toml and client/pyproject.toml into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) -e '.[cpu,train,dev]' -e ./client
	@touch $@

demo: $(STAMP) ## Train on real films, serve, and watch incomplete ones find their fans
	@$(BIN)/python tools/demo.py

test: $(STAMP) ## Run the tests, but for the slow ones
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP) ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m slow

fuzz: $(STAMP) ## Fuzz the HTTP API by its own document (about ten minutes)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) 'schemathesis>=4.30'
	@$(BIN)/python tools/fuzz.py

bench: $(STAMP) ## Measure speed and memory of training (minutes to hours)
	@$(BIN)/python -m benchmarks.training $(BENCH)

check: $(STAMP) ## Check format, lint, types, imports and docs
	@echo "ruff format"; $(BIN)/ruff format --check --quiet .
	@echo "ruff check"; $(BIN)/ruff check --quiet .
	@echo "mypy"; $(BIN)/mypy --no-error-summary $(TYPED)
	@echo "lint-imports"; $(BIN)/lint-imports >$(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@echo "docs"; $(BIN)/python -m pytest --quiet --no-header tests/docs

format: $(STAMP) ## Format the code and fix what the linter can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

serve: export I3REC_MODEL_STORE ?= var/store
serve: export I3REC_JOURNAL_URL ?= sqlite:///var/journal.db
serve: $(STAMP) ## Run the service on this machine, with its state under ./var
	@mkdir -p var
	@$(BIN)/python -m service

smoke-compose: $(STAMP) ## Build the images, run the compose file, try it and take it down (needs Docker)
	@$(BIN)/python tools/smoke_compose.py

check-deploy: $(STAMP) ## Check rules, alerts and dashboards against a real Prometheus and the real service
	@$(BIN)/python tools/check_deploy.py

clean: ## Remove .venv, caches and builds; ./var stays
	@rm -rf $(VENV) build dist *.egg-info client/build client/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -type d -name __pycache__ -prune -exec rm -rf {} +
