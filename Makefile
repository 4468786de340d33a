# make demo   from a bare clone to a report: scenes, a captioner's recaptions, CLIP at three mixes, images by three transformers, boards
# make full   the paper's whole experiment on scenes, from the captioner to the last board
# make captioner   the captioner of scenes that comes with the package, anew
# make dit    the diffusion transformers of scenes that come with the package, anew
# make test   what CI runs: all tests, and make check
# make check  lint, format, types, layers, reports up to date
# Each makes the virtual environment first if it is not there; VENV=dir puts it elsewhere.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo full captioner dit test serial beside check lint clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25"
	@echo "Installing into $(VENV): torch and its libraries are about 6 GB, some minutes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e ".[dev]"
	@touch $(READY)

demo: $(READY)
	$(BIN)/recap-eval study studies/recaption-mix.yaml --root build/demo --set samples=60000 --set seed=0

# The committed reports reports/clip.*, captions.* and captioner.*, and most of dit-scenes.*: hours on two cores. Stopped, it goes on by the
# same command.
full: $(READY)
	$(BIN)/recap-eval study studies/scenes-full.yaml --root build/full --jobs 2
	$(BIN)/recap-eval leaderboard add build/full/leaderboards/results
	cp -r build/full/reports/failures build/full/reports/captions reports/
	$(BIN)/recap-eval report

# recap_eval/models/shipped/scenes-tiny (studies/scenes-full.yaml trains the same one, bit for bit): some twenty minutes on one core.
SHIPPED := recap_eval/models/shipped/scenes-tiny
captioner: $(READY)
	$(BIN)/recap-eval scenes build/captioner/scenes --n 100000 --n-eval 2000 --seed 7 --recaption-error 0
	$(BIN)/recap-train captioner --recipe scenes-tiny --name scenes-tiny --data build/captioner/scenes --out build/captioner/scenes-tiny
	mkdir -p $(SHIPPED)
	cp build/captioner/scenes-tiny/*.json build/captioner/scenes-tiny/*.jsonl build/captioner/scenes-tiny/*.jinja \
	  build/captioner/scenes-tiny/*.safetensors $(SHIPPED)/

# The diffusion transformers that ship, reports/dit-scenes.* and their gallery: an hour a mix on one core.
dit: $(READY)
	$(BIN)/recap-eval study studies/dit-mix.yaml --root build/dit --set p=0,0.5,1 --set leaderboards=leaderboards --set reports=reports
	cp -r build/dit/small/* recap_eval/models/shipped/
	$(BIN)/recap-eval gallery build/dit/images-p0-s0/recap build/dit/images-p0.5-s0/recap build/dit/images-p1-s0/recap --n 16 \
	  --data build/dit/scenes --out reports/gallery/dit-scenes.html
	$(BIN)/recap-eval report

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/recap-eval report --check

# Serial tests, which kill and time processes, run one by one and keep one core busy for more than half of the time; beside them, on the
# other, go the checks, the long tests that do neither, and those of two packages.
BESIDE := tests/recap_caption tests/recap_train
test: lint
	$(BIN)/python -m pytest -n 2 -m "not serial and not slow" $(BESIDE:%=--ignore=%)
	$(MAKE) --no-print-directory -j 2 serial beside

serial: $(READY)
	$(BIN)/python -m pytest -m serial

beside: check
	$(BIN)/python -m pytest -m "slow and not serial" $(BESIDE:%=--ignore=%)
	$(BIN)/python -m pytest -m "not serial" $(BESIDE)

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
