# The commands for developers and CI. Each installs what it needs; nothing has to be installed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-newest test-slow lint wheel docs figures format architecture bench clean

# One stamp file for each set of extras, so that `make demo` on a fresh clone does not install the test libraries.
$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[synth]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[synth,board,export,hub,serve,umap,docs,dev]'
	touch $@ $(VENV)/.run $(VENV)/.docs

$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

demo: $(VENV)/.run
	$(BIN)/sori demo --into demo

# One worker per core, one thread per worker; neighbouring tests stay together, because they share what takes long to make.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

# The tests, and which lines they run. Use Python 3.12 or later: 3.11 takes nearly twice as long.
coverage: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal --cov

# The newest Python that torch and numba serve and an interpreter is found for, with coverage; its torch is a large download.
test-newest:
	$(MAKE) coverage PYTHON="$$(ls $$HOME/.pyenv/versions/3.13.*/bin/python 2>/dev/null | tail -1 || command -v python3.13)" VENV=.venv-3.13

test-slow: $(VENV)/.dev
	$(BIN)/pytest -q -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Build the wheel, compare it with src, install it in another place and start it there.
wheel: $(VENV)/.dev
	$(BIN)/python .ci/wheel.py

# The documentation as a site that needs no network: open site/index.html. Any warning fails.
docs: $(VENV)/.docs
	$(BIN)/python docs/generator/build.py site

# Draw the pictures of the documentation again from the recorded figures.
figures: $(VENV)/.dev
	for script in docs/figures/[!_]*.py; do $(BIN)/python "$$script" || exit 1; done

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Draw the folders and the imports between them again.
architecture: $(VENV)/.dev
	$(BIN)/python tools/import_graph.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/train_speed.py

clean:
	rm -rf $(VENV) demo
