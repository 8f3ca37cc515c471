# Two commands are all a newcomer needs: `make demo` and `make test`.

CARGO ?= cargo
DEMO_DATA ?= demo-data

.PHONY: help demo demo-once test lint fmt bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: ## sample sources through all three zones, then a server to try
	$(CARGO) run --profile demo --quiet -p mavis-server --bin mavis -- demo --data $(DEMO_DATA)

demo-once: ## the same, but stop after the table of what was done
	$(CARGO) run --profile demo --quiet -p mavis-server --bin mavis -- demo --data $(DEMO_DATA) --once

test: ## installs the counterparts, starts them, and runs every test
	tests/setup tests/run

lint: ## what CI asks of the source text
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## formats everything
	$(CARGO) fmt --all

bench: ## every speed we claim, as a ratio (see bench/README.md)
	bench/run
