# What a developer types. Each target says what it does in `make help`; CI runs `make test`.

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PEERS  := $(TARGET)/peers
CARGO  := cargo

IMAGE  := $(TARGET)/packages/kinesis-agent-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-$(shell uname -m).oci.tar

# Whether the tests may mount file systems in a namespace of their own.
MAY_MOUNT := unshare $(if $(filter-out 0,$(shell id -u)),--map-root-user) --mount mount -t tmpfs none /tmp >/dev/null 2>&1

export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help build demo test lint lint-packaging unit peers bench packages test-packages image test-image many outage shards ordering distance simulate simulate-planted role fuzz clean-peers clean-packages

help: ## Shows this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

build: ## Builds the release binary.
	$(CARGO) build --release --locked
	@echo "built: $(TARGET)/release/kinesis-agent"

demo: ## Sends a rotated log to a local Kinesis server and counts what arrives (about 30 s; STAY=1 keeps it running).
	$(CARGO) build --locked --bin kinesis-agent --example demo
	@STAY=$(STAY) $(TARGET)/debug/examples/demo

test: lint peers lint-packaging ## Checks format and lints, then runs every test, also against real servers and logrotate.
	@$(MAY_MOUNT) || echo "NOTE: nothing can be mounted here, so the tests of tests/it/file_systems/mounted.rs do nothing" >&2
	KINESIS_AGENT_PEERS=$(PEERS) IT_MOUNTS=$$($(MAY_MOUNT) && echo on || echo off) $(CARGO) nextest run --locked
	$(CARGO) test --locked --quiet --doc

lint: ## Checks the format, and clippy without a warning.
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

lint-packaging: peers ## Holds manifests, the ECS task and IAM policies to their schemas, and their configurations to the agent.
	$(CARGO) build --locked --bin kinesis-agent
	$(PEERS)/bin/python packaging/lint.py $(TARGET)/debug/kinesis-agent

unit: ## Runs the tests of the pure parts alone (seconds).
	$(CARGO) nextest run --locked --lib

simulate: ## Steps all stages through what may happen to files, for SECONDS (60); SEED, EXACT, RACES, CASE: see tests/it/simulation/mod.rs.
	SECONDS=$(or $(SECONDS),60) $(CARGO) test --locked --test it simulation::simulate -- --ignored --nocapture

role: ## Delivers through a role of 900 s for half an hour: its keys are renewed twice.
	$(CARGO) test --locked --test it access::a_role_of_900_seconds -- --ignored --nocapture

simulate-planted: ## Plants five bugs, one after the other, and shows how soon the simulation finds each.
	tests/it/simulation/planted/hunt.sh

bench: ## Measures CPU, memory, latency, repeats after kill -9 and the bill (BENCH_MB, BENCH_LIVES; ONLY=throughput|latency|crash|bill).
	$(CARGO) bench --locked --bench throughput -- $(ONLY)

fuzz: ## Looks for bytes that break a property of tests/it/properties (PROPERTY=frame SECONDS=60; needs cargo-fuzz).
	cd fuzz && CARGO_TARGET_DIR=$(TARGET)/fuzz cargo fuzz run -s none $(or $(PROPERTY),frame) -- -max_total_time=$(or $(SECONDS),60)

many: ## Measures start, memory and idle CPU with very many files, and a fresh line beside a backlog (FILES, ACTIVE, SECONDS, BENCH_MB).
	$(CARGO) bench --locked --bench throughput -- many fair

ordering: ## Measures what `ordering: strict` costs, beside no order (BENCH_MB).
	$(CARGO) bench --locked --bench throughput -- ordering

shards: ## Measures how much of a stream's shards is used, and how much is refused, on a real server (SHARDS, SECONDS, AGENTS).
	$(CARGO) bench --locked --bench throughput -- shards

distance: ## Measures what 100 ms more to each answer cost, and a link of 300 KB/s (BENCH_MB, SECONDS).
	$(CARGO) bench --locked --bench throughput -- distance

outage: ## Nothing can be delivered for SECONDS=120 while 20 MB/s are written: memory, loss, catching up (OUTAGE=refuse|hang|throttle, RATE_MB, KEEP).
	$(CARGO) bench --locked --bench throughput -- outage

packages: ## Makes the .deb and .rpm for x86-64 and aarch64 (ARCH=x86_64 or aarch64 for one), checks them, leaves them in the target folder.
	packaging/make-packages $(ARCH)

test-packages: ## Boots Debian 11, 12, 13 and a root with rpm, and takes the packages through their lives (MACHINES="debian12 rpm" for some).
	packaging/test/run.py $(MACHINES)

image: ## Builds the OCI image of this machine's architecture (ARCH=aarch64: the other); publishes nothing.
	packaging/image/build $(ARCH)

test-image: image ## Runs the image with podman in 64 MiB and counts every line (about 90 s; IMAGE_TEST_MB=1200).
	packaging/image/test.py $(IMAGE)

peers: $(PEERS)/ready ## Installs what the tests need besides Rust: Python and node peers and a browser's driver under the target folder, logrotate, rsync, vi, Chromium, systemd-analyze.
	@for need in logrotate rsync vi:vim-tiny chromium systemd; do \
	  command=$${need%:*}; package=$${need#*:}; \
	  command -v $$command >/dev/null || test -x /usr/sbin/$$command || test -x /lib/systemd/$$command \
	  || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -y -q --no-install-recommends $$package; } \
	  || { echo "the tests need $$command: install it (apt-get install $$package)" >&2; exit 1; }; \
	done

# The stamp is written last, so that a half-made environment is made again.
$(PEERS)/ready: tests/it/peers/requirements.txt tests/it/peers/package-lock.json
	rm -rf $(PEERS)
	python3 -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r $<
	cp tests/it/peers/package.json tests/it/peers/package-lock.json $(PEERS)/
	cd $(PEERS) && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --ignore-scripts --silent --no-audit --no-fund
	touch $@

clean-peers: ## Removes the Python peers.
	rm -rf $(PEERS)

clean-packages: ## Removes the packages and all that they were made with.
	rm -rf $(TARGET)/packaging $(TARGET)/packages
