# Two commands do everything: `make demo` and `make test`. Each sets up what it
# needs: a virtual environment with pinned tools, and the extension module.
# Needed beforehand: a Rust toolchain (1.95 or newer), a C and C++ compiler, make and
# perl (for the Kafka client), and Python 3.11 or newer; for the tests on real brokers
# Java 17 and Maven.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TERM_COLOR ?= never

.PHONY: demo demo-kafka test setup build lint test-rust test-python test-crash test-sim test-fuzz test-kafka kafka chaos trust soak repeat bench bench-kafka clean

demo: build
	$(BIN)/headwater demo $(DEMO)

test: build
	@./scripts/timed "lints" $(MAKE) --no-print-directory lint
	@./scripts/timed "Rust tests" $(MAKE) --no-print-directory test-rust
	@./scripts/timed "Python tests" $(MAKE) --no-print-directory test-python
	@./scripts/timed "crash tests" $(MAKE) --no-print-directory test-crash
	@./scripts/timed "simulation" $(MAKE) --no-print-directory test-sim
	@./scripts/timed "fuzzing" $(MAKE) --no-print-directory test-fuzz
	@./scripts/timed "Kafka tests" $(MAKE) --no-print-directory test-kafka

setup: $(VENV)/.ready

$(VENV)/.ready: requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Headwater needs Python 3.11 or newer, this is {v.major}.{v.minor}; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

build: setup
	@./scripts/timed "build" $(BIN)/maturin develop --release --quiet

# The environment that maturin gives cargo; another one would build pyo3 again.
LIKE_MATURIN = PYO3_BUILD_EXTENSION_MODULE=1 \
	PYO3_CONFIG_FILE=$$(ls $(CARGO_TARGET_DIR)/maturin/pyo3-config-*.txt | head -n 1) \
	PYO3_ENVIRONMENT_SIGNATURE=$$($(BIN)/python -c 'import sys; v = sys.version_info; print(f"cpython-{v.major}.{v.minor}-64bit")') \
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python PYTHON_SYS_EXECUTABLE=$(CURDIR)/$(BIN)/python

lint: build
	cargo fmt --all --check
	cargo clippy --release --workspace --exclude headwater-python --all-targets --quiet -- -D warnings
	cargo clippy --release --package headwater-sim --features faults --all-targets --quiet -- -D warnings
	$(LIKE_MATURIN) cargo clippy --release --package headwater-python --quiet -- -D warnings
	cargo xtask tidy
	$(BIN)/ruff check --quiet python examples benchmarks scripts scripts/kafka
	$(BIN)/ruff format --check --quiet python examples benchmarks scripts scripts/kafka
	$(BIN)/mypy

test-rust:
	cargo test --release --quiet

test-python: build
	$(BIN)/python -m pytest python/tests --quiet -m "not crash and not kafka"

test-crash: build
	$(BIN)/python -m pytest python/tests --quiet -m crash

# Ten seconds a target, from the stored corpus.
test-fuzz: setup
	$(BIN)/python scripts/fuzz.py --seconds $(or $(FUZZ_SECONDS),10)

# The same demo on a broker that the script starts.
demo-kafka: build
	$(PYTHON) scripts/kafka with $(BIN)/headwater demo --directory .demo-kafka $(DEMO)

# Apache Kafka from its jars, fetched once. The tests start brokers of their own.
kafka:
	@$(PYTHON) scripts/kafka fetch

test-kafka: kafka build
	cargo test --release --quiet --package headwater-log --test kafka -- --test-threads 4
	$(BIN)/python -m pytest python/tests --quiet -m kafka

# One seed drives clock, turns, log and disk faults: HEADWATER_SEEDS=n and
# HEADWATER_SEED_FROM=n choose which.
test-sim:
	cargo test --release --quiet --package headwater-sim --features faults

# Goes on where the table of RELIABILITY.md says that it stopped, and appends to it.
trust: build
	$(BIN)/python scripts/trust.py --minutes $(or $(MINUTES),45)

# Kills, cuts and freezes a job and its brokers, and counts what comes out; goes on and
# appends like `trust`.
chaos: kafka build
	$(BIN)/python scripts/chaos.py --minutes $(or $(MINUTES),30)

# A job at half of its maximum rate: what it keeps, with an interval.
soak: build
	$(BIN)/python scripts/soak.py --minutes $(or $(MINUTES),45)

# Tests that touch threads, time and processes, again and again.
repeat: build
	$(BIN)/python scripts/repeat.py --times $(or $(TIMES),50)

bench: build
	$(BIN)/python benchmarks/run.py

# Beside hand-written loops, a broker on one core and the program on another.
bench-kafka: kafka build
	$(BIN)/python benchmarks/kafka.py

clean:
	rm -rf $(VENV) .demo .headwater
	cargo clean
