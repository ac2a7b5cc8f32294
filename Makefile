# Everything a contributor runs. Works on a bare Debian with Python 3.11 to 3.13; a second call reuses the environment.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# pytest-xdist workers; the suite is cut for two cores.
JOBS   ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check format bench clean dot

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo dot ## set up, compile ResNet-34 with its picture, train a small net on real digits
	$(BIN)/resdsl compile specs/resnet34.res --draw
	$(BIN)/resdsl train specs/resnet20_digits.res
	@echo
	@echo "ResNet-34:   build/resnet34/ (model.py stands alone, resnet34.svg is its picture, summary.json its costs)"
	@echo "ResNet-20:   the training run's folder is named above (checkpoint, record and curve)"

test: $(VENV)/.installed-test dot ## set up and run the tests
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(VENV)/.installed-test dot ## run the slow tests too
	$(BIN)/python -m pytest -n $(JOBS) -m ""

check: $(VENV)/.installed-dev ## check layout, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## rewrite the Python files in the one layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-test ## measure against the yardsticks, as ratios
	$(BIN)/python -m benchmarks.run

# Only .venv: another VENV is the caller's own.
clean: ## remove the environment and everything built
	rm -rf .venv build dist runs resdsl.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra, so that a second call installs nothing.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

# Debian ships Python without its venv module's pip: that is a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "resdsl needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt_install,python3-venv) || \
	    { echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Pictures need the program dot. Without it everything else works, and the tests that need it are skipped.
dot:
	@command -v dot >/dev/null || $(call apt_install,graphviz) || \
	    echo "No dot program: pictures stay .gv text. Get it with 'sudo apt-get install graphviz'," \
	         "or without root: $(BIN)/pip install 'pygraphviz>=2'" >&2

define apt_install
{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -qq || true; } && \
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) </dev/null >/dev/null; }
endef
