# Everything that people and CI do with this repository. `make help` lists it.
#
# Why through make and not plain cargo: the C++ of RocksDB is compiled once (compiler cache first in PATH, one target folder), all calls
# select the whole workspace so that features unify the same way, and scripts/cargo keeps checkouts that share a target folder apart.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export PATH := /usr/lib/ccache:$(PATH)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/quorus/target

CARGO := scripts/cargo
WORKSPACE := --workspace --locked

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what the build needs (idempotent; says what is missing when it can't)
	@scripts/setup.sh

.PHONY: build
build: setup ## Compile everything
	$(CARGO) build $(WORKSPACE) --all-targets

.PHONY: demo
demo: setup ## Three nodes, two workers, one kill -9, and the proof that nothing was lost
	@scripts/demo.sh

.PHONY: sim
sim: setup ## Simulated clusters under faults, a few dozen seeds (SIM="--seed 1 --seeds 500" for others)
	$(CARGO) build $(WORKSPACE) --bins
	$(CARGO_TARGET_DIR)/debug/quorus-chaos sim $(or $(SIM),--seeds 40 --minutes 2)
	$(if $(SIM),,$(CARGO_TARGET_DIR)/debug/quorus-chaos sim --regressions)

.PHONY: mutants
mutants: setup ## Plants bugs in simulated clusters, one after another; fails if an invariant misses one
	$(CARGO) build $(WORKSPACE) --features quorus-chaos/mutants --bin quorus-planted
	$(CARGO_TARGET_DIR)/debug/quorus-planted mutants $(ARGS)

.PHONY: chaos
chaos: setup ## Two short game days with real processes: kill -9 of a leader and of a worker, judged step by step
	@scripts/gameday.sh short

.PHONY: gameday
gameday: setup ## All game days, long: every shipped experiment; SEEDS="1 2 3"
	@scripts/gameday.sh long $(SEEDS)

.PHONY: test
test: setup ## All tests, doc tests included
	@scripts/test.sh

.PHONY: verify
verify: setup ## Read-only gates: format, lints, docs, licences, API lint, house rules
	@scripts/verify.sh

.PHONY: fix
fix: setup ## Apply what verify can repair by itself
	$(CARGO) clippy $(WORKSPACE) --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

.PHONY: bench
bench: setup ## Benchmarks, with the release profile
	$(CARGO) bench $(WORKSPACE) $(ARGS)

.PHONY: bench-peer
bench-peer: setup ## Quorus beside a peer, alternating rounds, ratios (ARGS="--rounds 5"); needs npm
	@scripts/bench-peer.sh $(ARGS)
