# Two commands: `make run` and `make test` (`make test-all` for all of it). Each sets up all it needs in .venv.
# `make sim` adds TT-NN and simulated chips:
# TTSIM=<file or folder> says where Tenstorrent's simulator lies, else it is looked for. `make sweep` runs a grid.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV := .venv
READY := $(VENV)/ready
BIN := $(VENV)/bin

TTSIM ?=
# ttnn comes for Python 3.12; pyenv's python3.12 may be a shim for none.
SIM_PYTHON ?= $(firstword $(foreach p,python3.12 $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.12.*/bin/python),\
	$(shell $(p) -c 'import sys; print(sys.executable)' 2>/dev/null)))

# Two at a time, of a thread each: threads that wait for a core spin.
TWO := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2
TESTED := $(TWO) --dist worksteal
NOTEBOOKS := $(TWO) --dist loadfile --nbval --nbval-current-env

run: $(READY)
	$(BIN)/python -m lib.run $(ARGS)

test: $(READY)
	$(TESTED) --durations=10 -m "not long" tests
	$(NOTEBOOKS) $(wildcard notebooks/0[123]_*.ipynb)

test-all: $(READY)
	$(TESTED) --durations=25 tests
	$(NOTEBOOKS) notebooks

sweep: $(READY)
	@test -n "$(GRID)" || { echo 'sweep: got no GRID, need a YAML file: make sweep GRID=docs/grid.yaml' >&2; exit 2; }
	$(BIN)/python -m batches $(GRID) $(ARGS)

lab: $(READY)
	$(BIN)/jupyter lab notebooks

sim: sim-python $(READY)
	TTSIM="$(TTSIM)" $(BIN)/python -m ttvideo.ttnn --python "$(SIM_PYTHON)"

sim-python:
	@test -n "$(SIM_PYTHON)" || { echo 'TT-NN: got no Python 3.12, need one (SIM_PYTHON=path); all else works without it' >&2; exit 1; }

# The library is installed; notebooks, findings and batches import from this checkout.
# Byte code of what is imported comes as it is imported; of all that torch and JupyterLab bring it takes a minute.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)} and "need Python 3.11 or 3.12, got " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -r requirements.txt
	echo "$(CURDIR)" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth
	touch $(READY)

clean:
	rm -rf $(VENV) runs

.PHONY: run test test-all sweep lab sim sim-python clean
