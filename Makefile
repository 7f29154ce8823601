# Aegis. `make help` says what there is; each target installs what it needs, once.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && exit; \
	done; echo python3)
BIN := .venv/bin

# Ports of `make up`, on loopback: make up ENVOY_PORT=18000
PORTS := ENVOY_PORT UPSTREAM_PORT BUNDLES_PORT METRICS_PORT FOLLOWER_METRICS_PORT
port_options = $(foreach port,$(PORTS),$(if $($(port)),--$(subst _,-,$(shell echo $(port) | tr A-Z a-z)) $($(port))))

.PHONY: help up test lint bench bench-ledger bench-replay compat bench-reload crash clean install install-dev

help: ## this list
	@echo "make TARGET [NAME=VALUE ...]"; echo
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo; echo "PYTHON=python3.12 chooses the Python (3.11 to 3.13) that .venv is made of."

up: install ## everything on this machine: Envoy, OPA, worker, follower, sample traffic (ONCE=1 ends after it; ENGINE=wasm: no OPA)
	@$(BIN)/aegis up $(if $(ONCE),--once)$(if $(ENGINE), --engine $(ENGINE)) $(port_options)

test: install-dev ## lint, then every test, with real Envoy and OPA
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -rs $(TESTS)

lint: install-dev ## ruff, mypy, the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(if $(PEER),install-dev,install) ## what a decision costs above a bare Check (PEER=opa-envoy-plugin: and it)
	@$(BIN)/python benchmarks/bench.py $(if $(PEER),--plugin $(PEER)) $(BENCH)

crash: install-dev ## worker and follower killed at every system call, power gone 300 times, kills for SECONDS (strace)
	@dir=$$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(BIN)/python -m tests.killed kernel "$$dir/kernel" 1 | tail -n 1 && \
	$(BIN)/python -m tests.followed calls "$$dir/calls" 1 | tail -n 1 && \
	$(BIN)/python -m tests.followed power "$$dir/power" 300 | tail -n 1 && \
	$(BIN)/python -m tests.followed random "$$dir/random" $(or $(SECONDS),600) | tail -n 1

compat: install-dev ## ask an opa-envoy-plugin and us REQUESTS at random, and say what differs (PLUGIN=path/to/it)
	@$(BIN)/python -m tests.compat.live $(PLUGIN) $(or $(REQUESTS),5000) $(or $(SEED),1)

bench-ledger: install ## what the ledger does in a second: appends, verification, restart, proofs (a few minutes)
	@$(BIN)/python benchmarks/ledger.py $(BENCH)

bench-replay: install ## 100,000 recorded decisions, no two equal, put to policy again
	@$(BIN)/python benchmarks/replay.py $(BENCH)

bench-reload: install-dev ## 300 policy versions activated at 1,000 requests/s, then 60 through Envoy, judged from the ledger
	@$(BIN)/python -m tests.reload.reload --activations 300 --rate 1000
	@$(BIN)/python -m tests.reload.reload --activations 60 --rate 200 --envoy

install: ## .venv from requirements.lock, and OPA
	@$(PYTHON) tools/install.py run
	@$(BIN)/python tools/opa.py

install-dev: ## the same from requirements-dev.lock, Prometheus, a witness, an S3 server and other people's verifiers
	@$(PYTHON) tools/install.py dev
	@$(BIN)/python tools/opa.py
	@$(BIN)/python tools/prometheus.py
	@$(BIN)/python tools/witness.py
	@$(BIN)/python tools/versitygw.py
	@$(BIN)/python tools/softhsm.py
	@$(BIN)/python tools/verifiers.py

clean: ## remove .venv and caches; `var` with its keys and ledger stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
