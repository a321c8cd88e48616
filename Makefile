# make demo   set-up, then images -> features -> adapter -> report.html
# make test   set-up, then all tests but the slow ones
# make help   the other targets

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
DEMO   ?= demo
DATA   ?=
OUT    ?=
TABLE  ?=
PART   ?=
RELEASED ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev test test-slow test-oldest lint format docs dist demo bench-read \
  bench-head bench-step bench-extract bench-tables bench-opponents bench-gpu bench-compare bench-serve serve soak fuzz model-card reproduce \
  reproduce-table1 clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-18s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[photos,serve]'
	touch $@

$(STAMP_DEV): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,tensorboard]'
	touch $@

setup: $(STAMP)  ## make .venv with the tested versions: what the demo and the tables need

setup-dev: $(STAMP_DEV)  ## the same, and what tests, documentation and linters need

test: setup-dev  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup-dev  ## the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

soak: setup-dev  ## the page of `adapter serve` for an hour at 50 requests a second: memory stays flat
	FEATCACHE_SOAK_SECONDS=3600 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s -m slow \
	  tests/adapter/serve/test_soak.py

fuzz: setup-dev  ## the page of `adapter serve`: hundreds of valid and invalid requests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/adapter/serve/test_fuzz.py

# It has its own environment and is not in .ci/run, because it downloads several GB. uv chooses the
# lowest versions that pyproject.toml allows. torch is named, because the newest torchvision, which
# timm brings, asks for a newer one. Warnings are not errors here: old versions of libraries warn
# about newer versions of what they use.
test-oldest:  ## the default tests with the oldest versions that pyproject.toml allows
	test -d .venv-oldest || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
	  --resolution lowest-direct --editable '.[test,tensorboard]' 'torch==2.6.*'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadfile -W default

lint: setup-dev  ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup-dev  ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

dist: setup-dev  ## wheel and sdist, in dist/
	$(BIN)/python -m build --outdir dist

demo: setup  ## drawn scenes -> cache -> adapter -> demo/run/report.html, in minutes
	$(BIN)/featcache extract --dataset demo --root $(DEMO)/images --out $(DEMO)/cache
	$(BIN)/adapter train --shards $(DEMO)/cache --out $(DEMO)/run --resume \
	  --preset best --steps 340 --batch-size 12 --lr 2e-3 --width 128 \
	  --set model.blocks=1 --set model.post_blocks=0 --set model.prompt_tokens=4 \
	  --set model.mlp_ratio=2 --set model.pair_layers=1 --set model.standardize=true \
	  --set loss.regression_weight=1 --set optim.amsgrad=false --set 'optim.betas=[0.9, 0.98]' \
	  --set train.stack_parts=5 --set train.stack_steps=1 --set train.stack_once=true \
	  --set sampling.queries_per_batch=22
	$(BIN)/adapter report $(DEMO)/run --root $(DEMO)/images --zero-shot
	@echo "open $(DEMO)/run/report.html"

serve: demo  ## the demo, then its page in the browser: prints the address
	$(BIN)/adapter serve $(DEMO)/run --shards $(DEMO)/cache --root $(DEMO)/images

# Without DATA: what lies in data/, or drawn stand-ins where there is nothing of it.
REPRODUCE = $(BIN)/adapter reproduce $(1) $(if $(DATA),--data "$(DATA)",--or-miniature) \
  $(if $(OUT),--out "$(OUT)")

reproduce-table1: setup  ## the paper's Table 1: make reproduce-table1 [DATA=data] [OUT=runs/table1]
	$(call REPRODUCE,table1)

reproduce: setup  ## any table: make reproduce TABLE=table3 [DATA=data] [OUT=runs/table3]
	$(call REPRODUCE,$(or $(TABLE),--list))

# The peers want older versions of what we use, so they get an environment of their own that sees
# the tested packages through a path file.
bench-read: setup  ## reading and writing the cache beside its peers
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > \
	  "$$(.venv-bench/bin/python -c 'import site; print(site.getsitepackages()[0])')/tested.pth"
	.venv-bench/bin/python -m pip install --quiet litdata mosaicml-streaming webdataset 'zarr>=3'
	OMP_NUM_THREADS=1 PYTHONPATH=. .venv-bench/bin/python benchmarks/read.py \
	  --folder "$${TMPDIR:-/tmp}/featcache-bench" --rounds 9 --cold-rounds 2 \
	  --json docs/benchmarks/read.json

bench-head: setup  ## the ranking head at linear cost beside the concatenated form
	$(BIN)/python benchmarks/ranking_head.py --json docs/benchmarks/ranking-head.json

model-card: setup  ## what the embedded CLIP knows, measured on unseen scenes
	$(BIN)/python -m featcache.backbone.embedded.card

bench-step: setup  ## a training step from the cache beside one from memory
	$(BIN)/python benchmarks/train_step.py --json docs/benchmarks/train-step.json

bench-extract: setup  ## extraction beside its halves, and decoding of large photos
	$(BIN)/python benchmarks/extract.py --json docs/benchmarks/extract.json decode
	$(BIN)/python benchmarks/extract.py --json docs/benchmarks/extract.json rate

bench-gpu: setup  ## the measurements for a GPU, in parts: make bench-gpu PART=extract [RELEASED=DIR]
	$(BIN)/python benchmarks/gpu.py $(PART) $(if $(RELEASED),--released "$(RELEASED)")

bench-tables: setup  ## a million and ten million rows to a plan, five million labels: fails over its limits
	$(BIN)/python benchmarks/tables.py --json docs/benchmarks/tables.json

bench-opponents: setup  ## ranking by comparison with some opponents: the time for 20,000 images
	$(BIN)/python benchmarks/opponents.py --json docs/benchmarks/opponents.json time --width 256

bench-serve: setup  ## how long the page waits, at 10,000 and 100,000 photos
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serve.py --photos 10000 --photos 100000 \
	  --json docs/benchmarks/serve.json

bench-compare: setup  ## what changed between two results: make bench-compare OLD=a.json NEW=b.json
	$(BIN)/python benchmarks/figures.py compare "$(OLD)" "$(NEW)"

clean:  ## remove what the demo and the tests leave behind
	rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
