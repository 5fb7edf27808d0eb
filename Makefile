PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py

.PHONY: run test check torture bench install lock clean

# Prepare the database, load the sample by the real migration, and serve.
run: export ORB_PERSISTENCE := sql
run: install
	$(MANAGE) migrate --verbosity 0
	$(MANAGE) validate_orb_files --data-dir sample/.orb-data
	$(MANAGE) migrate_orb_files --data-dir sample/.orb-data
	@$(MANAGE) ensure_orb_admin
	@echo "The admin is at http://127.0.0.1:$(PORT)/admin/ (Ctrl-C ends it)."
	$(MANAGE) runserver 127.0.0.1:$(PORT)

# The whole suite; the tests that need PostgreSQL start their own.
test: install
	$(BIN)/python -m pytest

# Lint, types, architecture, migrations that were forgotten.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DEBUG=true $(MANAGE) makemigrations --check --dry-run
	DEBUG=true $(MANAGE) check

# Harnesses that need root or system packages, which are installed first; nothing is skipped.
torture: install
	tests/torture/prepare
	$(BIN)/python -m pytest -s -m torture
	ORB_ROUNDS=500 $(BIN)/python -m pytest -s tests/storage/test_kill.py

# Figures, as ratios within one run.
bench: install
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.file_store
	$(BIN)/python -m benchmarks.migration

# The virtual environment, and settings for development.
install: $(VENV)/installed .env

$(VENV)/installed: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.env:
	@umask 077 && printf 'DEBUG=true\nSECRET_KEY=%s\n' "$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(48))')" > .env

# Renew the pinned requirements; asks for uv.
lock:
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/base.in --output-file requirements/base.txt
	uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" requirements/dev.in --output-file requirements/dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
