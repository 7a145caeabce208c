# `make quickstart` and `make test` do all the set-up they need, and are quick when repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
RUN_DIR ?= runs/quickstart

.PHONY: quickstart test test-fast lint clean

quickstart: $(VENV)/.quickstart
	@$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		scalegan/train.py recipe=quickstart run_dir=$(RUN_DIR)
	@$(BIN)/python tools/after_quickstart.py $(RUN_DIR)

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .

# A clean Debian has Python without venv; root can mend that.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq python3-venv python3-dev && $(PYTHON) -m venv $(VENV); } \
		|| { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.quickstart: setup.py constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (the first time takes some minutes)"
	@$(PIP) -e '.[quickstart]'
	@touch $@

$(VENV)/.test: setup.py constraints.txt | $(BIN)/python
	@echo "installing every extra into $(VENV) (the first time takes some minutes)"
	@$(PIP) -e '.[all]'
	@touch $@ $(VENV)/.quickstart

clean:
	rm -rf $(VENV) runs build *.egg-info
