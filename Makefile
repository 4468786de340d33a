# make demo   from a bare clone to a report: scenes, CLIP at three mixes, evaluation
# make test   what CI runs: make check, then all tests
# make check  lint, format, types, layers, reports up to date
# Each makes the virtual environment first if it is not there; VENV=dir puts it elsewhere.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo board test check lint clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25"
	@echo "Installing into $(VENV): torch and its libraries are about 6 GB, some minutes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e ".[dev]"
	@touch $(READY)

demo: $(READY)
	$(BIN)/recap-eval study studies/clip-mix.yaml --root build/demo --set samples=60000 --set seed=0

# The committed reports reports/clip.* and reports/captions.*: about half an hour on two cores.
board: $(READY)
	$(BIN)/recap-eval study studies/clip-mix.yaml --root build/board --set leaderboards=leaderboards --set reports=reports
	$(BIN)/recap-eval study studies/captions.yaml --root build/board --set leaderboards=leaderboards --set reports=reports

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/recap-eval report --check

test: check
	$(BIN)/python -m pytest -n 2 -m "not serial"
	$(BIN)/python -m pytest -m serial

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
