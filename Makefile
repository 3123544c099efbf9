# Every target prepares what it needs: on a machine with python3 >= 3.11, make and git nothing comes first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
SETUP  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-mysql test soak check parity bench bench-compare format lint types imports lock protos manifests docs clean audit licences image sbom

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Every target passes on ARGS, as in: make demo ARGS="--claims 50 --size 1Gi --grow 2Gi"'

setup: $(SETUP) ## Create .venv with everything, from the lock file with hashes

$(SETUP): requirements-dev.lock tools/make_venv.sh
	@PYTHON="$(PYTHON)" sh tools/make_venv.sh "$(VENV)"
	@touch $@

demo: $(SETUP) ## Grow a real filesystem below a claim from 300Gi to 400Gi to 500Gi
	@sh tools/ensure_mkfs.sh $(ARGS)
	@$(BIN)/resizer demo $(ARGS)

demo-mysql: $(SETUP) ## Repeat the article's experiment: a database under load while its volume grows
	@sh tools/ensure_mysql.sh $(ARGS)
	@$(BIN)/resizer demo --workload mysql $(ARGS)

test: $(SETUP) ## Run the tests (below 5 minutes)
	@$(BIN)/pytest -m 'not soak' -n 4 --dist worksteal $(ARGS)

soak: $(SETUP) ## Run the long tests (below 10 minutes)
	@$(BIN)/pytest -m soak --timeout 600 -n 2 --dist loadgroup $(ARGS)

check: $(SETUP) ## Format, lint, types, imports and tests, as CI does
	@$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory lint types imports test

lint: $(SETUP) ## ruff, every rule
	@$(BIN)/ruff check . $(ARGS)

types: $(SETUP) ## mypy, strict
	@$(BIN)/mypy $(ARGS)

imports: $(SETUP) ## The import rules of docs/architecture.md
	@$(BIN)/lint-imports $(ARGS)

format: $(SETUP) ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

parity: $(SETUP) ## Hold every decision against what the peer was recorded to do
	@$(BIN)/python -m tests.parity $(ARGS)

bench: $(SETUP) ## Measure every row of docs/benchmarks.md, goals beside figures
	@sh tools/ensure_mkfs.sh $(ARGS)
	@$(BIN)/python -m bench $(ARGS)

bench-compare: $(SETUP) ## Two commits' figures side by side: make bench-compare ARGS="A B"
	@$(BIN)/python -m bench compare $(ARGS)

image: $(SETUP) ## Build the container image and try it (root on Debian; elsewhere docs/image.md)
	@sh tools/build_image.sh $(ARGS)

sbom: $(SETUP) ## List what the built image contains, as CycloneDX JSON
	@$(BIN)/python -m tools.image.sbom build/image/resizer.oci.tar build/image/resizer.cdx.json

protos: $(SETUP) ## Generate src/resizer/rpc/pb from src/resizer/rpc/proto
	@$(BIN)/python tools/generate_stubs.py

manifests: $(SETUP) ## Render deploy/install.yaml and deploy/examples/node-agent.yaml from the Helm chart
	@sh tools/ensure_helm.sh $(BIN)
	@$(BIN)/python tools/render_manifests.py

docs: $(SETUP) ## Write docs/configuration.md from the settings and config/default.yaml
	@$(BIN)/python tools/write_configuration.py $(ARGS)

lock: $(SETUP) ## Lock the dependencies again, with hashes (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --group dev --extra report pyproject.toml -o requirements-dev.lock

audit: $(SETUP) ## Look up known flaws of the locked packages; without the data, hold the lock's age
	@$(BIN)/python tools/audit.py $(ARGS)

licences: $(SETUP) ## Write docs/licences.md from what is locked and installed
	@$(BIN)/python tools/licences.py $(ARGS)

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
