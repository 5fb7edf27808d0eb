PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py
BASE := $(VENV)/installed-base
DEV := $(VENV)/installed-dev
DOCS_VENV := .venv-docs
DOCS := $(DOCS_VENV)/installed-docs

.PHONY: run serve test test-fast check torture bench bench-large docs release-check install lock openapi permissions test-citus test-scale sbom audit clean

# Prepare the database, migrate the sample, and start the server, a worker for jobs and scheduled maintenance. Ctrl-C
# ends all of them.
run: export ORB_PERSISTENCE := sql
run: $(BASE) .env
	$(MANAGE) migrate --verbosity 0
	$(MANAGE) validate_orb_files --data-dir sample/.orb-data
	$(MANAGE) migrate_orb_files --data-dir sample/.orb-data
	@$(MANAGE) ensure_orb_admin
	@echo "The admin is at http://127.0.0.1:$(PORT)/admin/ (Ctrl-C ends it)."
	@trap 'kill $$worker $$maintenance $$server 2>/dev/null; wait' EXIT; trap exit INT TERM HUP; \
	$(MANAGE) db_worker --no-reload --verbosity 0 & worker=$$!; \
	$(MANAGE) run_orb_maintenance --loop 30 & maintenance=$$!; \
	$(MANAGE) runserver 127.0.0.1:$(PORT) & server=$$!; \
	wait $$server

# Serve as in production, with settings from the environment: see docs/how-to/production.md.
serve: export DEBUG := false
serve: $(BASE) .env
	$(MANAGE) check --deploy --database default --fail-level WARNING
	$(MANAGE) migrate --check
	$(MANAGE) collectstatic --no-input --verbosity 0
	exec $(BIN)/gunicorn --config python:orbsite.runtime.gunicorn orbsite.wsgi

# Run the whole test suite on all cores. Tests that need PostgreSQL start a server of their own.
test: install
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Run the tests that are not marked slow: no browser, no server, no killed processes.
test-fast: install
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow and not torture and not scale"

# Check the pins, lint, types, architecture, and for missing migrations.
check: install
	$(BIN)/python requirements/check.py
	$(BIN)/python requirements/sbom.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DEBUG=true $(MANAGE) makemigrations --check --dry-run
	DEBUG=true $(MANAGE) check

# Run the tests that need root or system packages, which are installed first, and try more at random. No test is skipped.
torture: install
	tests/torture/prepare
	ORB_DEEP=true $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "(torture or deep) and not scale" \
		$$(grep -rlE 'mark\.(torture|deep)' tests --include='test_*.py')

# Run the suites of stores, runs and API on the cluster with Citus that ORB_TEST_CITUS names.
test-citus: install
	@test -n "$$ORB_TEST_CITUS" || { echo "Set ORB_TEST_CITUS: docs/how-to/several-servers.md says how to start a cluster."; exit 1; }
	$(BIN)/python -m pytest tests/operations/scaling
	$(BIN)/python -m pytest --numprocesses 2 tests/contract/test_contract.py -k postgresql
	$(BIN)/python -m pytest --numprocesses 2 tests/operations/migration tests/operations/retention/test_retention.py tests/operations/records/test_erase.py
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow and not torture and not release and not scale" tests/api

# Run the tests that take minutes with several servers or many workers: the suites of contract and API through PgBouncer
# and on partitions, ten thousand reads after writes beside a replica that stops, and 200 data directories whose workers
# are killed.
test-scale: install
	tests/torture/prepare
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m scale

# Run the benchmarks, which takes 25 minutes on two cores, and write benchmarks/RESULTS.md and the plots of docs/cost.
bench: install
	$(BIN)/python -m benchmarks.search 100000
	$(BIN)/python -m benchmarks.search 100000 postgresql
	$(BIN)/python -m benchmarks.fold 100000
	$(BIN)/python -m benchmarks.contention 100000 30
	$(BIN)/python -m benchmarks.long_runs 100000
	$(BIN)/python -m benchmarks.long_runs 100000 postgresql
	$(BIN)/python -m benchmarks.migration 100000
	$(BIN)/python -m benchmarks.imports 100000
	$(BIN)/python -m benchmarks.bulk_migration
	$(BIN)/python -m benchmarks.compaction 100000
	$(BIN)/python -m benchmarks.api 100000
	$(BIN)/python -m benchmarks.api 100000 postgresql
	$(BIN)/python -m benchmarks.admin 100000
	$(BIN)/python -m benchmarks.admin 100000 postgresql
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.file_store 1000 10000 100000
	$(BIN)/python -m benchmarks.scaling 1000 10000 100000
	$(BIN)/python -m benchmarks.decode 100000
	$(BIN)/python -m benchmarks.sessions
	$(BIN)/python -m benchmarks.sealing
	$(BIN)/python -m benchmarks.growth 100000
	$(BIN)/python -m benchmarks.nodes
	$(BIN)/python -m benchmarks.partitions 100000
	$(BIN)/python -m benchmarks.refusals
	$(BIN)/python -m benchmarks.report

# Run the benchmarks of a million reflections, which take hours, and up to 20 GB of memory for several processes at a file.
bench-large: install
	$(BIN)/python -m benchmarks.search 1000000
	$(BIN)/python -m benchmarks.search 1000000 postgresql
	$(BIN)/python -m benchmarks.fold 1000000
	$(BIN)/python -m benchmarks.contention 1000000 300
	$(BIN)/python -m benchmarks.long_runs 1000000
	$(BIN)/python -m benchmarks.long_runs 1000000 postgresql
	$(BIN)/python -m benchmarks.migration 1000000
	$(BIN)/python -m benchmarks.compaction 1000000
	$(BIN)/python -m benchmarks.api 1000000
	$(BIN)/python -m benchmarks.api 1000000 postgresql
	$(BIN)/python -m benchmarks.admin 1000000
	$(BIN)/python -m benchmarks.admin 1000000 postgresql
	$(BIN)/python -m benchmarks.scaling 1000000
	$(BIN)/python -m benchmarks.report

# Build the documentation into site/, in an environment of its own. A warning is an error.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet

# Build the wheel and the source distribution, try them in empty environments with each Python that is installed, and run
# every command of the documentation.
release-check: install
	$(BIN)/python -m tests.package.release_check
	$(BIN)/python -m pytest --numprocesses auto -m release

# Create the virtual environment with the packages for tests and checks, and settings for development.
install: $(DEV) .env

# The packages of the running project. dev.txt includes them, so they are not installed again after the tests.
$(BASE): requirements/base.txt
	$(PYTHON) requirements/install.py $(VENV) $<
	@touch $@

$(DEV): requirements/dev.txt $(BASE)
	$(PYTHON) requirements/install.py $(VENV) $<
	@touch $@

$(DOCS): requirements/docs.txt
	$(PYTHON) requirements/install.py $(DOCS_VENV) $<
	@touch $@

.env:
	@umask 077 && printf 'DEBUG=true\nSECRET_KEY=%s\n' "$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(48))')" > .env

# Generate the OpenAPI document. A test fails if it does not match the code.
openapi: install
	DEBUG=true $(MANAGE) spectacular --format openapi-json --fail-on-warn --file docs/openapi.json

# Generate the table of permissions from the code and the OpenAPI document. A test fails if it does not match the code.
permissions: install
	DEBUG=true DJANGO_SETTINGS_MODULE=orbsite.settings $(BIN)/python -m tests.api.permission_table

# Renew the pinned requirements. Needs uv.
lock:
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/base.in --output-file requirements/base.txt
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/dev.in --output-file requirements/dev.txt
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/docs.in --output-file requirements/docs.txt
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/build.in --output-file requirements/build.txt
	uv run --no-config --no-project --quiet --python 3.11 --with pip --with packaging python requirements/check.py --renew
	uv run --no-config --no-project --quiet --python 3.11 --with packaging python requirements/sbom.py

# Generate the bill of materials from the pins. A test fails if it does not match them.
sbom: install
	$(BIN)/python requirements/sbom.py

# Check the pinned releases for known vulnerabilities. Says UNVERIFIED if the advisory services are unavailable.
audit:
	$(PYTHON) requirements/audit.py

clean:
	rm -rf $(VENV) $(DOCS_VENV) site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
