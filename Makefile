# The same verbs people and CI run. Each sets up what it needs; nothing has to be installed by hand before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint wheel format bench clean

# One stamp an extra set, so that `make demo` on a fresh clone does not wait for the test libraries.
$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[synth]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[synth,board,export,hub,umap,dev]'
	touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/sori demo --into demo

# A worker for each core, each with one thread.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4

test-slow: $(VENV)/.dev
	$(BIN)/pytest -q -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Built, compared with src, installed where the sources are not, and started there.
wheel: $(VENV)/.dev
	$(BIN)/python .ci/wheel.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/train_speed.py

clean:
	rm -rf $(VENV) demo
