# Needs Python 3.11 to 3.13, make and git. Everything is installed into .venv.
#
#   make demo    start the whole stack, harden a small classifier, show before and after, stop
#   make serve   start the stack and keep it; ARGS='--port 9000' passes options on
#   make test    all tests, against real servers; ARGS='-k boundary' passes options on
#   make lint    ruff, mypy, import contracts
#   make clean   remove .venv
#
# On Linux, PyPI's torch brings gigabytes of CUDA. Without a GPU, spare yourself those:
#   make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

VENV ?= .venv
# Which interpreter makes the environment; by default the first that fits.
PYTHON ?=
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: demo serve test lint clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py $(ARGS)

serve: $(INSTALLED)
	$(BIN)/ladder serve $(ARGS)

test: $(INSTALLED)
	$(BIN)/pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml
	@set -e; \
	for python in $(PYTHON) $(BIN)/python python3 python3.13 python3.12 python3.11; do \
		if "$$python" -c '$(FITS)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 with venv and ensurepip found (on Debian: apt install python3-venv)." >&2; \
		echo "Name one yourself: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi; \
	if [ "$$found" != "$(BIN)/python" ]; then "$$found" -m venv $(VENV); fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
