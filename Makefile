# `make quickstart` and `make test` do all the set-up they need, and are quick when repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
RUN_DIR ?= runs/quickstart

.PHONY: quickstart test test-fast lint docs clean

quickstart: $(VENV)/.quickstart
	@$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		scalegan/train.py recipe=quickstart run_dir=$(RUN_DIR)
	@$(BIN)/python tools/after_quickstart.py $(RUN_DIR)

# In three processes, as many tests mostly wait (tests/conftest.py says who gets what).
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 3 --max-worker-restart 1

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n 2

lint: $(VENV)/.test
	$(BIN)/ruff check .

# The documentation as a site.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "$(CURDIR)/build/site; to search it too: $(BIN)/python -m http.server -d build/site --bind 127.0.0.1"

# A clean Debian has Python without venv; root can mend that.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq python3-venv python3-dev && $(PYTHON) -m venv $(VENV); } \
		|| { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.quickstart: setup.py constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) (the first time takes some minutes)"
	@$(PIP) -e '.[quickstart]'
	@touch $@

$(VENV)/.test: setup.py constraints.txt $(VENV)/.system | $(BIN)/python
	@echo "installing every extra into $(VENV) (the first time takes some minutes)"
	@if $(CAN_BUILD_FFCV); then extras=all; else extras=all-but-ffcv; echo "FFCV is left out, and so are its tests:" \
		"it needs the packages $(FFCV_PACKAGES) (Debian's names); then 'make clean test'"; fi; \
		$(PIP) -e ".[$$extras]"
	@touch $@ $(VENV)/.quickstart

# FFCV is compiled on installation. On Debian root can have what that takes; nobody else is asked to.
FFCV_PACKAGES := g++ pkg-config libopencv-dev libturbojpeg0-dev
CAN_BUILD_FFCV := command -v g++ >/dev/null && pkg-config --exists opencv4 libturbojpeg 2>/dev/null

# The tests of jobs run on a SLURM of their own.
SLURM_PACKAGES := slurm-wlm munge
HAS_SLURM := PATH="$$PATH:/usr/sbin" command -v slurmctld >/dev/null
# The tests of pages click in a browser.
HAS_CHROMIUM := command -v chromium >/dev/null

$(VENV)/.system: | $(BIN)/python
	@wanted=; { $(CAN_BUILD_FFCV); } || wanted="$(FFCV_PACKAGES) python3-dev"; \
	{ $(HAS_SLURM); } || wanted="$$wanted $(SLURM_PACKAGES)"; \
	{ $(HAS_CHROMIUM); } || wanted="$$wanted chromium"; \
	if test -n "$$wanted" && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		echo "installing $$wanted"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$wanted \
		>/dev/null || echo "apt-get failed"; fi
	@touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
