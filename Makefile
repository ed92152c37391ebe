# Every target makes the environment it needs in .venv; nothing else is required but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench picture clean

demo: .venv/installed
	$(BIN)/ptubench run demo

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 2 --dist loadfile

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python benchmarks/all.py

picture: .venv/installed
	$(BIN)/python scripts/picture.py

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
