# The commands of this repository. `make` alone lists them.

SHELL := /bin/sh
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run demo test test-pure test-it test-browser conformance schemathesis nginx-check ops scaling lint audit fmt docs bench load fairness soak clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Fetch what is missing, build, start, and print the address to open
	@scripts/run.sh

demo: ## Make a year of a workspace in ./data-demo, serve it, and print the log-in (release build)
	@scripts/demo.sh

test: ## Install what the tests need and run all of them
	@scripts/test.sh all

test-pure: ## Only the tests without I/O (seconds)
	@scripts/test.sh pure

test-it: ## Only the integration tests, against a real PostgreSQL
	@scripts/test.sh it

test-browser: ## Only the tests in a real browser
	@scripts/test.sh browser

conformance: ## Only the WebSocket conformance suite, directly and through nginx
	@scripts/test.sh conformance

schemathesis: ## Only the REST interface against its own document
	@scripts/test.sh schemathesis

ops: ## Only the files for operators: alerts, containers, the unit, as far as tools for them are here
	@scripts/test.sh ops

scaling: ## The model of docs/scaling.md against a simulation, then its tables
	@cd ops/scaling && python3 -B -m unittest --quiet && python3 -B model.py

nginx-check: ## Only nginx's files: whether nginx takes them, and gixy's opinion
	@scripts/test.sh nginx

lint: ## Formatting, clippy with warnings as errors, the page's code, the house rules
	$(CARGO) fmt --all --check
	@scripts/page.sh check
	$(CARGO) clippy --workspace --all-features --all-targets -- -D warnings
	$(CARGO) test --quiet --all-features --test it -- tidy

audit: ## Known holes, licences and sources of the dependencies (needs cargo-deny or cargo-audit, and the network)
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	elif cargo audit --version >/dev/null 2>&1; then cargo audit && echo "Licences and sources: not checked; that needs cargo-deny."; \
	else echo "Install one first: cargo install --locked cargo-deny (or cargo-audit)." >&2; exit 1; fi

fmt: ## Format the code
	$(CARGO) fmt --all
	@scripts/page.sh format

docs: ## Write docs/configuration.md and .env.example anew from the settings
	@$(CARGO) build --quiet --all-features --bin parlance
	@target/debug/parlance config --markdown > docs/configuration.md
	@target/debug/parlance config --example > .env.example

bench: ## Benchmark the pure cores, and commit against a PostgreSQL of its own
	$(CARGO) bench

load: ## A short round of the load tool against a fresh release server; or PROFILE=light, medium, heavy (DURATION=seconds)
	@scripts/load.sh

fairness: ## What a neighbour waits while one tenant does its worst, in each of some ways
	@scripts/fairness.sh

soak: ## Half an hour of random faults under load, and a verdict (SOAK_MINUTES, SOAK_SEED)
	@scripts/soak.sh

clean: ## Remove what was built, fetched and tested with; keeps ./data
	$(CARGO) clean
	rm -rf .dev tests/browser/node_modules tests/browser/output
