PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py
BASE := $(VENV)/installed-base
DEV := $(VENV)/installed-dev

.PHONY: run serve test check torture bench install lock openapi permissions sbom audit clean

# Prepare the database, load the sample by the real migration, and serve, with a worker for long work and maintenance
# for what is due beside the server; they end with it.
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

# Serve as in production, by what the environment says: see "Run it in production" in the README.
serve: export DEBUG := false
serve: $(BASE) .env
	$(MANAGE) check --deploy --database default --fail-level WARNING
	$(MANAGE) migrate --check
	$(MANAGE) collectstatic --no-input --verbosity 0
	exec $(BIN)/gunicorn --config python:orbsite.runtime.gunicorn orbsite.wsgi

# The whole suite, on up to four cores; the tests that need PostgreSQL start their own.
test: install
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Pins that are complete, lint, types, architecture, migrations that were forgotten.
check: install
	$(BIN)/python requirements/check.py
	$(BIN)/python requirements/sbom.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DEBUG=true $(MANAGE) makemigrations --check --dry-run
	DEBUG=true $(MANAGE) check

# Harnesses that need root or system packages, which are installed first; nothing is skipped.
torture: install
	tests/torture/prepare
	$(BIN)/python -m pytest -s -m torture --ignore tests/torture/test_api_fuzz.py
	$(BIN)/python -m pytest -m torture --numprocesses 2 tests/torture/test_api_fuzz.py
	ORB_ROUNDS=500 $(BIN)/python -m pytest -s tests/storage/file/test_kill.py

# Figures, as ratios within one run.
bench: install
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.file_store
	$(BIN)/python -m benchmarks.migration
	$(BIN)/python -m benchmarks.imports
	$(BIN)/python -m benchmarks.sessions
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.admin
	$(BIN)/python -m benchmarks.refusals
	$(BIN)/python -m benchmarks.compaction

# The virtual environment with what tests and checks need, and settings for development.
install: $(DEV) .env

# What the project runs on. dev.txt has all of it, so nothing is installed anew where tests have run before.
$(BASE): requirements/base.txt
	$(PYTHON) requirements/install.py $(VENV) $<
	@touch $@

$(DEV): requirements/dev.txt $(BASE)
	$(PYTHON) requirements/install.py $(VENV) $<
	@touch $@

.env:
	@umask 077 && printf 'DEBUG=true\nSECRET_KEY=%s\n' "$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(48))')" > .env

# The OpenAPI document, from the code; a test fails where it is not what the code says.
openapi: install
	DEBUG=true $(MANAGE) spectacular --format openapi-json --fail-on-warn --file docs/openapi.json

# The page of who may do what, from the code and the OpenAPI document; a test fails where it is not what the code says.
permissions: install
	DEBUG=true DJANGO_SETTINGS_MODULE=orbsite.settings $(BIN)/python -m tests.api.permission_table

# Renew the pinned requirements; asks for uv.
lock:
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/base.in --output-file requirements/base.txt
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/dev.in --output-file requirements/dev.txt
	uv run --no-config --no-project --quiet --python 3.11 --with pip --with packaging python requirements/check.py --renew
	uv run --no-config --no-project --quiet --python 3.11 --with packaging python requirements/sbom.py

# The bill of materials, from the pins; a test fails where it is not what they say.
sbom: install
	$(BIN)/python requirements/sbom.py

# Ask the advisories about the pinned releases; where they cannot be reached, that is said.
audit:
	$(PYTHON) requirements/audit.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
