PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

# Installed once, and again whenever the requirements change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Example meshes -> data set -> a small trained model -> meshes -> table and report. Then the same from label volumes of
# scans: NIfTI -> data set -> a prior of two organs -> their reconstruction on the scans' own grids -> table in mm.
demo: $(VENV)/.installed
	$(BIN)/python -m data_processing --config configs/data/demo.yaml
	$(BIN)/python train.py --config configs/demo.yaml --resume
	$(BIN)/python generate.py --run runs/demo --split test
	$(BIN)/python evaluate.py --run runs/demo --split test --protocol imnet onet
	$(BIN)/python -m data_processing --config configs/data/demo_organs.yaml
	$(BIN)/python train.py --config configs/demo_organs.yaml --resume
	$(BIN)/python generate.py --run runs/demo_organs --split test
	$(BIN)/python evaluate.py --run runs/demo_organs --split test --protocol masks
	@echo "reports: runs/demo/evaluation/report.html runs/demo_organs/evaluation/report-masks.html"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

test: lint
	$(BIN)/python -m pytest --durations=10

clean:
	rm -rf $(VENV) datasets runs
