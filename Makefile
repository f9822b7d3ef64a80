PYTHON ?= python3
VENV ?= .venv
TEST_PROCESSES ?= 2
BIN := $(VENV)/bin

.NOTPARALLEL:  # both installations are of one environment
.PHONY: demo demo-organs pretrained test test-slow lint docs clean

# Installed once, and again whenever the requirements change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# What lint and tests need comes with the rest, not after it: pip works out once what fits together.
$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(VENV)/.installed $@

# First what was trained already (pretrained/points): 3,000 points of three shapes that it never saw -> meshes, a picture.
# Example meshes -> data set -> a small trained model -> meshes -> table and report. Then the same from label volumes of
# scans: NIfTI -> data set -> a prior of two organs -> their reconstruction on the scans' own grids -> table in mm.
# Status 2 means that some shapes failed and are listed: the demo goes on.
LISTED := || [ $$? -eq 2 ]
FIRST := chair/Scopia_359_Children_chair chair/Scopia_62_Chair table/Scopia_94_Wooden_table
demo: $(VENV)/.installed
	$(BIN)/python generate.py --run pretrained/points --input $(FIRST:%=examples/%.ply) --points 3000 --resolution 128 \
	  --poses 4 --sheet --out runs/first
	$(BIN)/python -m data_processing --config configs/data/demo.yaml
	$(BIN)/python train.py --config configs/demo.yaml --resume
	$(BIN)/python generate.py --run runs/demo --split test $(LISTED)
	$(BIN)/python evaluate.py --run runs/demo --split test --protocol imnet onet $(LISTED)
	test -d runs/demo_points || cp -r pretrained/points runs/demo_points
	$(BIN)/python generate.py --run runs/demo_points --split test --data datasets/demo --points 3000 --resolution 128 $(LISTED)
	$(BIN)/python evaluate.py --run runs/demo_points --split test --data datasets/demo --protocol imnet onet $(LISTED)
	$(BIN)/python -m isofield compare runs/demo runs/demo_points --names IM-NET IF-Net --out runs/comparison
	$(BIN)/python -m data_processing --config configs/data/demo_organs.yaml
	$(BIN)/python train.py --config configs/demo_organs.yaml --resume
	$(BIN)/python generate.py --run runs/demo_organs --split test $(LISTED)
	$(BIN)/python evaluate.py --run runs/demo_organs --split test --protocol masks $(LISTED)
	@echo "reports: runs/demo/evaluation/report.html runs/comparison/compare.html runs/demo_organs/evaluation/report-masks.html"

# Priors of two brain structures of four donors -> calibration with the clean masks of a fifth -> masks of the fifth and
# the sixth spoilt on purpose -> the folder analysed, and the way to its report. Two clean masks are too few to flag one
# in twenty: all is UNSURE, the worst first. Status 1 of analyse.py means that it found something.
ORGANS := hippocampus caudate
demo-organs: $(VENV)/.installed
	$(BIN)/python -m data_processing --config configs/data/demo_organs.yaml --set name=demo_priors \
	  'contents.grids=[64, 128]' 'splits.ratios={train: 0.67, val: 0.17, test: 0.16}'
	for organ in $(ORGANS); do \
	  $(BIN)/python train.py --config configs/demo_prior.yaml --resume --set name=demo_$$organ "data.categories=[$$organ]" && \
	  $(BIN)/python evaluate.py --run runs/demo_$$organ --calibrate || exit 1; done
	$(BIN)/python -m isofield.outliers.spoil --input examples/brain --labels examples/brain/atlas-desikankilliany.csv \
	  --scans donor_15496_dk donor_15697_dk --clean donor_15697_dk --families cut_off blob_added bite missing_slices \
	  --structures 'left hippocampus' 'right hippocampus' 'left caudate' 'right caudate' --out datasets/demo_spoilt
	$(BIN)/python analyse.py --models $(ORGANS:%=runs/demo_%) --input datasets/demo_spoilt --out runs/demo_analysis \
	  --resume || [ $$? -eq 1 ]
	@echo "open runs/demo_analysis/report.html; what was spoilt: datasets/demo_spoilt/spoilt.csv"

# The folders of pretrained/ again, two hours of one CPU core: make pretrained FURNITURE=FOLDER (docs/how-to/pretrained.md).
pretrained: $(VENV)/.installed
	$(BIN)/python -m tests.tools.pretrained --furniture $(FURNITURE)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

test: lint
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations=15

# Kills, faults and scale: minutes more.
test-slow: $(VENV)/.installed-dev
	ISOFIELD_SLOW=1 $(BIN)/python -m pytest -m slow --durations=10

# With what the extra `docs` names; warnings are errors.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m tests.tools.reference
	$(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) datasets runs
