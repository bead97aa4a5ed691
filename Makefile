# Tollgate. On a fresh Debian with only Rust and Python, `make run` and
# `make test` install what is missing; elsewhere they say what to install.

SHELL  := /bin/bash
PYTHON ?= python3
CARGO  ?= cargo
CONFIG ?= conf/tollgate.yaml
venv   := .venv
pinned := tests/sdk/requirements.txt
node   := tests/sdk/node_modules
tools  := .cache/tools
deny   := 0.20.2

.PHONY: run test soak check bench demo setup setup-build setup-sdk setup-node setup-tools setup-deny setup-bench

# Builds and starts Tollgate with the quick-start configuration.
run: setup-build
	$(CARGO) run --release --locked -- serve -c $(CONFIG)

# Every test: unit, integration, SDK, documentation.
test: setup
	@set -e; if command -v cargo-nextest >/dev/null; \
	then echo '$(CARGO) nextest run'; $(CARGO) nextest run --locked --no-fail-fast; \
	else echo '$(CARGO) test'; $(CARGO) test --locked --lib --bins --tests --no-fail-fast; fi
	$(CARGO) test --locked --doc

# The long tests: a gigabyte each way, minutes of real time.
soak: setup
	@if command -v cargo-nextest >/dev/null; \
	then $(CARGO) nextest run --locked --no-fail-fast --run-ignored only; \
	else $(CARGO) test --locked --lib --bins --tests --no-fail-fast -- --ignored; fi

# What a reader must never find: bad layout, lints, broken documentation links,
# a dependency that deny.toml does not let in.
check: setup-build setup-deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	PATH="$$PATH:$(tools)/bin" $(CARGO) deny --locked check bans licenses sources

# CPU per request and added latency, beside nginx in the same minutes.
bench: setup-build setup-bench
	benches/run.sh

# Starts Tollgate with the built-in provider and shows one request of each kind.
demo: setup-build setup-sdk
	$(CARGO) build --release --locked
	$(venv)/bin/python -B tests/sdk/demo.py

setup: setup-build setup-sdk setup-node setup-tools

# A C compiler and cmake: some of the crates build C code.
setup-build:
	@need=(); \
	command -v cc >/dev/null || need+=(gcc libc6-dev); \
	command -v cmake >/dev/null || need+=(cmake); \
	command -v make >/dev/null || need+=(make); \
	$(call install,$${need[@]})

# The official SDK at its pinned version, in an environment of its own.
setup-sdk: $(venv)/.made
$(venv)/.made: $(pinned)
	@need=(); \
	command -v $(PYTHON) >/dev/null || need+=(python3); \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || need+=(python3-venv); \
	$(call install,$${need[@]})
	$(PYTHON) -m venv --clear $(venv)
	$(venv)/bin/python -m pip install --quiet --disable-pip-version-check -r $(pinned)
	@touch $@

# The same for Node.js: what package-lock.json names, and no script of a package.
setup-node: $(node)/.made
$(node)/.made: tests/sdk/package-lock.json
	@need=(); \
	command -v node >/dev/null || need+=(nodejs); \
	command -v npm >/dev/null || need+=(npm); \
	$(call install,$${need[@]})
	npm ci --prefix tests/sdk --ignore-scripts --omit=optional --no-audit --no-fund --silent
	@touch $@

# What reads our dashboards, alert rules, units, invoices and README. Debian starts a Prometheus
# of its own where it can; only the program is wanted.
setup-tools:
	@need=(); \
	command -v curl >/dev/null || need+=(curl); \
	command -v promtool >/dev/null || need+=(prometheus); \
	command -v systemd-analyze >/dev/null || need+=(systemd); \
	command -v chromium >/dev/null || need+=(chromium); \
	$(call install,$${need[@]}); \
	if [[ " $${need[*]} " = *" prometheus "* && -d /run/systemd/system ]]; \
	then systemctl --quiet disable --now prometheus; fi

# Builds cargo-deny at its pinned version, once (three minutes on two cores).
setup-deny: setup-build
	@PATH="$$PATH:$(tools)/bin"; command -v cargo-deny >/dev/null || \
	$(CARGO) install --quiet --locked --root $(tools) cargo-deny@$(deny)

# The reference proxy; only `make bench` needs it.
setup-bench:
	@need=(); \
	PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || need+=(nginx-light); \
	$(call install,$${need[@]})

# Installs Debian packages, as root; otherwise says which ones are missing.
define install
	set -- $(1); [ $$# -eq 0 ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing $$*"; \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends "$$@"; } >/dev/null; \
	else \
	  echo "Missing: please install $$* (Debian's names) and run make again." >&2; exit 1; \
	fi
endef
