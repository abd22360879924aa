# Everything runs in an environment of its own, .venv, which needs only Python, a C compiler and make to exist.
# The package is installed in place (editable), so every way of starting Python in this folder meets the same
# sources and the same compiled kernels; a change in csrc/, setup.py or pyproject.toml builds them again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
SOURCES := csrc $(wildcard csrc/*) fastrecover/include/fastrecover.h setup.py pyproject.toml
SETTINGS := $(CURDIR) $(CC) $(foreach name,NO_EXTENSION DEBUG SANITIZE,$(name)=$(FASTRECOVER_$(name)))
INCLUDE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
NEEDS_C := $(if $(filter-out 0,$(FASTRECOVER_NO_EXTENSION)),,yes)
PYTEST_ARGS ?= -n auto --maxprocesses 8
BENCH_ARGS ?=
BASE ?=
HEAD ?=
OLDEST_PYTHON ?= python3.11
OLDEST := .oldest
N ?= 100000
, := ,
SANITIZE := .sanitize
SKLEARN := .sklearn
TORCH ?= torch
library = $(shell $(CC) -print-file-name=lib$(1).so)

.DELETE_ON_ERROR:
.PHONY: demo test test-backends sklearn-matrix oldest fuzz sanitize lint docs wheel bench compare build clean distclean always

demo: $(VENV)/.demo
	$(BIN)/fastrecover demo --plot demo.png

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What works with PyTorch, JAX and other languages, which are too large to be had with every test run.  A release of
# PyTorch may be named, so that pip takes a build for processors alone where one is at hand.
test-backends: $(VENV)/.backends
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/backends

# The same tests on the lowest version of everything that pyproject.toml allows, in a copy of this folder whose
# environment and kernels do not meet those here.
oldest:
	mkdir -p $(OLDEST)
	find $(OLDEST) -name .venv -prune -o -name '*.py' -exec rm {} +
	tar -cf - --exclude=.git --exclude=.venv --exclude=$(OLDEST) --exclude=./build --exclude='*.so' \
	  --exclude=__pycache__ . | tar -xf - -C $(OLDEST)
	$(OLDEST_PYTHON) tests/floors.py >$(OLDEST)/floors.txt
	PIP_CONSTRAINT='$(CURDIR)/$(OLDEST)/floors.txt' PIP_BUILD_CONSTRAINT='$(CURDIR)/$(OLDEST)/floors.txt' \
	  $(MAKE) -C $(OLDEST) PYTHON=$(OLDEST_PYTHON) test

# The tests of estimators on the oldest release of scikit-learn that is supported, with what was there at its time, and
# on the newest, each in an environment of its own that shares the kernels built here; data frames of polars too.
sklearn-matrix: $(SKLEARN)/oldest/.ready $(SKLEARN)/newest/.ready
	for release in oldest newest; do \
	  PYTHONPATH='$(CURDIR)' $(SKLEARN)/$$release/bin/python -c 'import sklearn; print("scikit-learn", sklearn.__version__)' && \
	  PYTHONPATH='$(CURDIR)' $(SKLEARN)/$$release/bin/python -m pytest -p no:cacheprovider $(PYTEST_ARGS) tests/estimators \
	    || exit 1; done

$(SKLEARN)/oldest/.ready: RELEASE = --constraint $(SKLEARN)/oldest/floors.txt
$(SKLEARN)/newest/.ready: RELEASE = --upgrade
$(SKLEARN)/%/.ready: pyproject.toml | $(VENV)/.build
	$(PYTHON) -m venv $(SKLEARN)/$*
	$(PYTHON) tests/floors.py >$(SKLEARN)/$*/floors.txt
	$(SKLEARN)/$*/bin/python -m pip install -qq --disable-pip-version-check $(RELEASE) scikit-learn narwhals numpy scipy \
	  threadpoolctl numba pytest pytest-xdist hypothesis pandas pyarrow polars
	@touch $@

# Many more calls than a test run draws, other ones every time.
fuzz: $(VENV)/.test
	FASTRECOVER_FUZZ=$(N) $(BIN)/python -m pytest $(PYTEST_ARGS) tests/test_fuzz.py

# The tests of kernels and threads on builds that check every access: one for addresses and what C leaves undefined,
# one for threads.  Each lies in a folder of its own, which stands before the sources here; PYTHONMALLOC lets every
# object of Python be watched.  What Python itself never frees is no leak of ours.
sanitize: sanitize-address sanitize-thread

sanitize-address: export LD_PRELOAD_LIBRARIES = $(call library,asan) $(call library,ubsan)
sanitize-address: export PYTHONMALLOC = malloc
sanitize-address: export ASAN_OPTIONS = detect_leaks=0
sanitize-address: export UBSAN_OPTIONS = halt_on_error=1:print_stacktrace=1
sanitize-thread: export LD_PRELOAD_LIBRARIES = $(call library,tsan)
sanitize-thread: export TSAN_OPTIONS = halt_on_error=1:die_after_fork=0:suppressions=$(CURDIR)/tests/tsan.supp
sanitize-address sanitize-thread: sanitize-%: $(VENV)/.test
	rm -rf $(SANITIZE)/$*
	mkdir -p $(SANITIZE)/$*/source
	tar -cf - csrc fastrecover setup.py pyproject.toml README.md LICENSE --exclude='*.so' --exclude=__pycache__ \
	  | tar -xf - -C $(SANITIZE)/$*/source
	FASTRECOVER_SANITIZE=$(if $(filter address,$*),address$(,)undefined,$*) CC='$(CC)' \
	  $(PIP) --no-deps --target $(SANITIZE)/$*/site $(SANITIZE)/$*/source
	PYTHONSAFEPATH=1 PYTHONPATH=$(SANITIZE)/$*/site LD_PRELOAD="$$LD_PRELOAD_LIBRARIES" \
	  $(BIN)/python -m pytest -p no:cacheprovider tests/kernels tests/engines

lint: $(VENV)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint csrc

# What others install: an sdist, a wheel that is built from it, and tests of both in an environment of their own.
wheel: $(VENV)/.test $(VENV)/.wheel
	rm -rf dist
	CC='$(CC)' $(BIN)/python -m build --outdir dist .
	FASTRECOVER_DIST=dist $(BIN)/python -m pytest tests/wheel

# Every code block of the pages is run and compared with what it is said to print; then the pages, whose gallery runs the
# examples.  A warning fails, and so does a reference to what is not there.
docs: $(VENV)/.docs
	$(BIN)/python -m pytest docs
	$(BIN)/python -m sphinx -q -W -n --keep-going docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(BENCH_ARGS)

# The kernels of two revisions, timed in turn: without BASE that which the work in this folder began from, without
# HEAD this folder as it is.
compare: $(VENV)/.compare
	$(BIN)/python -m bench.compare $(BASE) $(if $(HEAD),$(if $(BASE),$(HEAD),$(error HEAD needs a BASE))) $(BENCH_ARGS)

build: $(VENV)/.build

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "fastrecover needs Python 3.11 or newer, and '$(PYTHON)' is not: name one with 'make PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "fastrecover needs Python's venv module: install it (the package python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Switches and the folder itself leave no trace in file times: a change in them shows here.
$(VENV)/.settings: always | $(VENV)/.python
	@echo '$(SETTINGS)' | cmp -s - $@ || echo '$(SETTINGS)' >$@

# CC is handed on, so that the compiler tried here is the one that builds.
$(VENV)/.build: $(SOURCES) $(VENV)/.settings | $(VENV)/.python
ifeq ($(NEEDS_C),yes)
	@echo '#include <math.h>' | $(CC) -x c -fsyntax-only - 2>/dev/null || { echo \
	  "fastrecover needs a C compiler (gcc or clang) to build its kernels, and '$(CC)' does not work:" \
	  "install one or name one with 'make CC=...'" >&2; exit 1; }
	@echo '#include <Python.h>' | $(CC) -x c -fsyntax-only -I'$(INCLUDE)' - 2>/dev/null || { echo \
	  "fastrecover needs Python's C headers to build its kernels: install them (the package python3-dev)" >&2; exit 1; }
	@$(BIN)/python csrc/units.py # pip shows nothing of what setup.py prints
endif
	rm -rf fastrecover/kernels/_compiled*.so fastrecover/lib
	CC='$(CC)' $(PIP) -e .
	@touch $@

# The extras of a package that is already installed: pip adds what they need and builds nothing again.
$(VENV)/.demo: EXTRAS := plot,progress
$(VENV)/.test: EXTRAS := test,lint,sklearn
$(VENV)/.bench: EXTRAS := bench
$(VENV)/.compare: EXTRAS := compare
$(VENV)/.wheel: EXTRAS := wheel
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.backends: $(VENV)/.test
	$(PIP) '$(TORCH)' 'fastrecover[torch,jax,export,zarr,parquet,hdf5,dask]' onnxruntime cython mpi4py mpich ray
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench $(VENV)/.compare $(VENV)/.wheel $(VENV)/.docs: pyproject.toml | $(VENV)/.build
	$(PIP) 'fastrecover[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.png examples/picture.png
	rm -rf docs/_build docs/auto_examples docs/generated
	rm -rf fastrecover/kernels/_compiled*.so fastrecover/lib $(VENV)/.build
	find fastrecover tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV) $(OLDEST) $(SANITIZE) $(SKLEARN)
