# `make` lists the targets.

CARGO ?= cargo
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help setup build demo test check dist-check bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what this host lacks (says what and why)
	@scripts/setup.sh

build: setup ## build the pyro binary: target/release/pyro
	$(CARGO) build --release --locked --bin pyro

demo: build ## the whole main job in a real microVM, on a small project
	target/release/pyro demo

# nextest isolates and times tests; without it the same tests run all the same.
test: setup python ## all tests, those in real microVMs among them
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --locked && $(CARGO) test --doc --workspace --locked; \
	else \
		$(CARGO) test --workspace --locked; \
	fi
	$(CARGO) build --locked --bin pyro
	PYRO_BINARY=target/debug/pyro target/venv/bin/pytest
	scripts/test-mcp.sh

check: setup cargo-deny python ## formatting, lints, types, layers, documentation, dependencies, fast Python tests
	scripts/check-layers.sh
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) deny --locked check bans licenses sources
	scripts/check-advisories.sh
	target/venv/bin/ruff check
	target/venv/bin/ruff format --check
	target/venv/bin/mypy
	$(CARGO) build --locked --bin pyro
	PYRO_BINARY=target/debug/pyro target/venv/bin/pytest -m 'not vm'

dist-check: setup python ## build the wheel, install it elsewhere, run real workspaces through it
	scripts/dist-check.sh

# What checks, builds and tests the Python side: target/venv.
.PHONY: python
python: setup
	@scripts/uv.sh sync --quiet --group examples --no-install-project

# Built from source once: some minutes on two cores.
.PHONY: cargo-deny
cargo-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny

bench: build ## measure, beside the tools people use today: docs/benchmarks.md
	bench/run.sh

.PHONY: smoke-firecracker
smoke-firecracker: build ## the main job on Firecracker; where it or KVM does not work it says why and fails
	scripts/smoke-firecracker.sh

.PHONY: fuzz
fuzz: ## throw bytes at every decoder, FUZZ_SECONDS (60) at each; needs a nightly toolchain
	scripts/fuzz.sh $(or $(FUZZ_SECONDS),60)

.PHONY: first-run
first-run: build ## write docs/first-run.md by doing what it shows
	scripts/first-run.sh

clean: ## remove build output
	$(CARGO) clean
