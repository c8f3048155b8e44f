# `make` alone lists what there is. Everything runs in .venv, which the first target makes by itself.

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest --numprocesses=auto --dist=worksteal
STAMP := .venv/.installed
UV_COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

HOST ?= 127.0.0.1:50051

.DEFAULT_GOAL := help
.PHONY: help setup run serve test check format bench load rehearse lock proto docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv from requirements.lock (every other target does this first)

$(STAMP): pyproject.toml requirements.lock scripts/setup.sh
	@scripts/setup.sh
	@touch $@

run: setup ## Show everything once: simulate, record, train, promote, score; ends by itself
	@$(PYTHON) -m training.demo

serve: setup ## Serve until Ctrl-C
	@$(PYTHON) -m service serve

test: setup ## Run the tests, on all cores
	@$(PYTEST)

check: setup ## Run everything that must hold: format, lint, types, import contracts, tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTEST)

format: setup ## Format the code and fix what can be fixed
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .

rehearse: setup ## Build both images of the Dockerfile in clean directories, without an engine, and run them
	@FRAUD_TEST_IMAGES=all $(PYTHON) -m pytest tests/deploy

bench: setup ## Measure hot operations one by one, then a whole score against handlers that do less
	@$(PYTHON) -m pytest tests/bench -o python_files='bench_*.py' --benchmark-columns=min,median,iqr,ops --benchmark-sort=name
	@$(PYTHON) -m tests.bench.cost
	@$(PYTHON) -m tests.bench.bars

load: setup ## Test a running service against its service level (HOST=host:port, WEB=1 for the page, ARGS="--rate 500")
	@$(PYTHON) -m locust -f loadtest/locustfile.py -H $(HOST) $(if $(WEB),--web-host 127.0.0.1,--headless --only-summary) $(ARGS)

lock: setup ## Pin the newest versions that pyproject.toml allows, with hashes
	@$(UV_COMPILE) --upgrade --extra tracing --extra training --extra dev --output-file requirements.lock pyproject.toml
	@$(UV_COMPILE) --upgrade --constraint requirements.lock --extra tracing --output-file requirements-service.lock pyproject.toml
	@$(UV_COMPILE) --upgrade --constraint requirements.lock --extra tracing --extra training --output-file requirements-training.lock pyproject.toml

proto: setup ## Generate service/pb from proto/
	@scripts/generate-proto.sh

docs: setup ## Write docs/features.md from the declarations
	@$(PYTHON) -c 'from service.core.features_doc import features_markdown; print(features_markdown())' > docs/features.md.new
	@mv docs/features.md.new docs/features.md

clean: ## Remove .venv and caches; what the service keeps in var/ stays
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
