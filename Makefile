# Every target makes the environment it needs in .venv; nothing else is required but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench soak fuzz picture clean

demo: .venv/installed
	$(BIN)/ptubench run demo

test: .venv/dev
	$(BIN)/python -m pytest -m 'not alone' --numprocesses auto --maxprocesses 2 --dist loadfile
	$(BIN)/python -m pytest -m alone

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python benchmarks/all.py

soak: .venv/dev
	$(BIN)/python benchmarks/soak.py --duration 1h

# FUZZ: how many times as many examples as in the suite. A hundred times is about half an hour.
fuzz: .venv/dev
	FUZZ=$${FUZZ:-100} $(BIN)/python -m pytest --numprocesses auto --maxprocesses 2 tests/test_fuzz_*.py

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
