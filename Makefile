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

# Example meshes -> data set -> a small trained model -> meshes -> table and report.
demo: $(VENV)/.installed
	$(BIN)/python -m data_processing --config configs/data/demo.yaml
	$(BIN)/python train.py --config configs/demo.yaml --resume
	$(BIN)/python generate.py --run runs/demo --split test
	$(BIN)/python evaluate.py --run runs/demo --split test --protocol imnet onet

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

test: lint
	$(BIN)/python -m pytest --durations=10

clean:
	rm -rf $(VENV) datasets runs
