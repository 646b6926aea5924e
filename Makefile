# Everything sets itself up: only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FILES  := mina_pipeline adapters tests benchmarks examples

# Four at a time, also on two cores, a file by one of them: most tests wait for databases, processes and sockets. Not
# more, since each has a PostgreSQL database of its own, and pools in it.
TESTS  := $(BIN)/python -m pytest -n 4 --dist loadfile
SOAK   := MINA_SOAK=1 HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest --timeout=1200

.PHONY: help demo test check format soak soak-laws soak-store soak-feed soak-kills soak-faults soak-history \
        soak-simulation soak-processes soak-live soak-doors soak-outage \
        bench-import bench-runs bench-store bench-engine bench-quality bench-fanout clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# $(1): the extras to install. uv is used where it is there.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mina_pipeline needs Python 3.11 or newer; set PYTHON=python3.12, say" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  { test -x $(BIN)/python || uv venv -q --python $(PYTHON) $(VENV); } && \
	  uv pip install -q --python $(BIN)/python -e '.$(1)'; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.$(1)'; \
	fi
	@touch $@
endef

$(VENV)/ready-run: pyproject.toml
	$(call install,)

$(VENV)/ready-dev: pyproject.toml
	$(call install,[dev])

$(VENV)/ready-bench: pyproject.toml
	$(call install,[bench])

demo: $(VENV)/ready-run  ## run the example meeting from recording to revealed
	@mkdir -p build
	@$(BIN)/mina run examples/weekly_planning.vtt --db sqlite:///build/demo.db --date 2026-12-01 --title "Weekly planning"

test: $(VENV)/ready-dev  ## run all tests
	@$(TESTS)

check: $(VENV)/ready-dev  ## the developer's whole loop: format, lint, types, import contract, tests
	$(BIN)/ruff format --check $(FILES)
	$(BIN)/ruff check $(FILES)
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(TESTS)

format: $(VENV)/ready-dev  ## format and fix what can be fixed
	$(BIN)/ruff check -q --fix $(FILES) || true
	$(BIN)/ruff format $(FILES)

soak: soak-laws soak-store soak-feed soak-kills soak-faults soak-history soak-simulation soak-processes soak-live soak-doors soak-outage  ## the long counts, each part under 20 minutes

soak-laws: $(VENV)/ready-dev
	$(SOAK) -m "laws and not soak"

soak-store: $(VENV)/ready-dev
	$(SOAK) tests/store/test_laws.py

soak-feed: $(VENV)/ready-dev
	$(SOAK) tests/store/test_feed.py

soak-kills: $(VENV)/ready-dev
	$(SOAK) tests/store/test_kill.py

soak-faults: $(VENV)/ready-dev
	$(SOAK) tests/store/test_broken_connections.py tests/store/test_same_bytes.py

soak-history: $(VENV)/ready-dev
	$(SOAK) tests/store/test_cost.py

soak-simulation: $(VENV)/ready-dev
	$(SOAK) tests/simulation

soak-processes: $(VENV)/ready-dev
	$(SOAK) tests/processes

soak-live: $(VENV)/ready-dev
	$(SOAK) tests/live/test_live_laws.py

soak-doors: $(VENV)/ready-dev
	$(SOAK) tests/transports/test_transport_processes.py tests/doors

soak-outage: $(VENV)/ready-dev
	$(SOAK) tests/engine/test_long_outage.py

bench-import: $(VENV)/ready-dev  ## what importing costs, beside SQLAlchemy alone
	$(BIN)/python benchmarks/import_time.py

bench-runs: $(VENV)/ready-dev  ## time and memory of `mina run` on each meeting in MINA_AMI_DIR
	$(BIN)/python benchmarks/run_meetings.py

bench-store: $(VENV)/ready-bench  ## the store beside the raw drivers and the eventsourcing library
	$(BIN)/python -m benchmarks.store

bench-engine: $(VENV)/ready-bench  ## the engine beside hand-written code, DBOS and procrastinate
	$(BIN)/python -m benchmarks.engine

bench-quality: $(VENV)/ready-bench  ## offline summaries, tasks and refinement beside what people made of the meetings in MINA_AMI_DIR
	$(BIN)/python -m benchmarks.quality

bench-fanout: $(VENV)/ready-bench  ## one session's events to 100 and 500 clients, beside bare servers and peers
	$(BIN)/python -m benchmarks.fanout

clean:           ## remove what was made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
