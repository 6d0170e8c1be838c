# Every target is one command on a bare machine with make and Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
# A file may end in _ where its name would hide a library that the others import.
AREAS := $(patsubst %_,%,$(filter-out _%,$(basename $(notdir $(wildcard benchmarks/*.py)))))

.PHONY: help demo test bench clean

help:
	@echo "make demo        explain four real functions, measure them against JAX, write a page on each"
	@echo "make test        ruff, mypy and the tests"
	@echo "make bench       every benchmark ($(AREAS)); make bench-AREA for one"
	@echo "make clean       remove $(VENV) and the caches"

demo: $(VENV)/.ready-demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.ready-test
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -q -n 2

bench: $(AREAS:%=bench-%)

bench-%: $(VENV)/.ready-bench
	@mkdir -p benchmarks/out
	$(BIN)/python $(firstword $(wildcard benchmarks/$*.py benchmarks/$*_.py))

# Trained weights that ship in a package: its code needs PyTorch and is not run, so neither is PyTorch installed.
WEIGHTS := facenet-pytorch==2.6.0 silero-vad==6.2.3

# A stamp per extra: only a changed pyproject.toml (or a missing environment) installs again.
STAMPS := $(VENV)/.ready-demo $(VENV)/.ready-test $(VENV)/.ready-bench
$(STAMPS): $(VENV)/.ready-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	$(if $(filter test bench,$*),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(WEIGHTS))
	@touch $@

# Plain python3 if it will do, else the newest that does. Each is run, not merely found: version
# managers leave shims on the path that exist and fail.
$(BIN)/python:
	@for python in python3 python3.13 python3.12 python3.11 python; do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	    then echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv --clear $(VENV); fi; \
	done; \
	echo "jacmap needs Python 3.11 or newer with its venv module; none of python3, python3.13, python3.12," \
	     "python3.11 and python on the path is one (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	exit 1

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
