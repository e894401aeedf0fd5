# Two commands: `make run` and `make test`. Each sets up all it needs in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV := .venv
READY := $(VENV)/ready
BIN := $(VENV)/bin

run: $(READY)
	$(BIN)/python -m lib.run $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -q --durations=10 tests
	$(BIN)/python -m pytest -q --nbval --nbval-current-env notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)} and "need Python 3.11 or 3.12, got " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $(READY)

clean:
	rm -rf $(VENV) .cache runs

.PHONY: run test lab clean
