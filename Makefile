# Two recipes matter to a new user: `make demo` and `make test`. Both make .venv and install what they need.
PYTHON ?= python3
IMAGES ?= demo/gallery
VENV := .venv
BIN := $(VENV)/bin
LIGHT := $(VENV)/.light
DEV := $(VENV)/.dev

.PHONY: demo test lint types contracts docs bench-smoke check clean

demo: $(LIGHT)
	@$(BIN)/python docs/demo/run_demo.py --images $(IMAGES)

test: $(DEV)
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

contracts: $(DEV)
	$(BIN)/lint-imports --no-cache

docs: $(DEV)
	$(BIN)/python docs/generate.py

bench-smoke: $(DEV)
	$(BIN)/python tests/benchmarks/smoke.py

check: lint types contracts test

clean:
	rm -rf $(VENV) demo build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# the light CPU set: no torch
$(LIGHT): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEV): pyproject.toml tests/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[dev,torch]'
	@touch $@ $(LIGHT)
