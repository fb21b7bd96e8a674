# Everything a contributor runs. `make` alone lists the targets.
#
#   make setup PYTHON=python3.12        another interpreter (3.11 or newer)
#   make setup PIP_FLAGS="--find-links wheels"   flags for pip, for instance where to take a CPU build of torch from
#   make bench BENCH="--data DIR"       what benchmarks.training is told (benchmarks/README.md)
#   make requirements LOCK_FLAGS=--upgrade   the newest releases; without it, pins that still fit stay

PYTHON ?= python3
PIP_FLAGS ?=
BENCH ?= --sizes 1e5,1e6
LOCK_FLAGS ?=
COMPOSE ?= docker compose
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
.PHONY: help setup demo test check format serve test-slow fuzz bench requirements secrets up down smoke-compose check-deploy check-chart clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything: service, trainer, development tools
	@echo "Ready: $(VENV)"

$(STAMP): pyproject.toml client/pyproject.toml Makefile $(wildcard service/adapters/native/*)
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

# Pins and hashes for the images. --universal: one file for every processor and Python from 3.11 on. Where packages come
# from is not written down: that is the business of whoever installs. torch-cpu.txt is kept by hand (it says why).
LOCK = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command 'make requirements' $(LOCK_FLAGS)

requirements: $(STAMP) ## Pin the packages of the images, with hashes (requirements/)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) 'uv>=0.13'
	@$(LOCK) pyproject.toml --extra cpu --extra postgres --extra trace -o requirements/service-cpu.txt
	@$(LOCK) pyproject.toml --extra gpu --extra postgres --extra trace -o requirements/service-gpu.txt
	@$(LOCK) pyproject.toml --extra cpu --extra postgres --extra train --excludes requirements/cuda-packages.in \
	  --no-emit-package torch -o requirements/training.txt
	@$(LOCK) requirements/torch.in -c requirements/training.txt -o requirements/torch-cuda.txt
	@$(LOCK) requirements/build.in -o requirements/build.txt

smoke-compose: $(STAMP) ## Build the images, run the compose file, try it and take it down (needs Docker)
	@$(BIN)/python tools/smoke_compose.py

check-deploy: $(STAMP) ## Check rules, alerts and dashboards against a real Prometheus and the real service
	@$(BIN)/python tools/check_deploy.py

# Helm's own engine as a library, and Kubernetes' schemas: 350 MB that only this needs.
check-chart: $(STAMP) ## Render the Helm chart and check it against Kubernetes' schemas
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) helm-python-sdk==0.2.2 kubernetes-validate==1.37.0
	@$(BIN)/python -m pytest --quiet --no-header tests/packaging/test_chart.py

secrets: ## Make the secrets that deploy/compose.{keys,scale}.yml mount; those that exist stay
	@$(PYTHON) tools/make_secrets.py $(SECRETS)

up down: export COMPOSE_FILE ?= docker-compose.yml:deploy/compose.local.yml
up: ## Build and start everything on this machine: service, cache, Prometheus, dashboards (needs Docker)
	@$(COMPOSE) up --build --detach --wait
	@echo "service http://127.0.0.1:8000/docs  dashboards http://127.0.0.1:3000  Prometheus http://127.0.0.1:9090"
	@echo "train a first model:  $(COMPOSE) --profile train run --rm trainer"

down: ## Stop what `make up` started; models, journal and measurements stay
	@$(COMPOSE) --profile train down

clean: ## Remove .venv, caches and builds; ./var stays
	@rm -rf $(VENV) build dist *.egg-info client/build client/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -type d -name __pycache__ -prune -exec rm -rf {} +
