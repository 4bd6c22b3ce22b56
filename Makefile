# Two commands for a fresh machine: `make demo` and `make test`. Both install what they need.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2

.PHONY: help setup demo test soak crash lint bench lock docs dist deb clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

setup: $(READY) ## the virtual environment, from the lock

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) || \
	  { echo "adwatch needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || \
	  { apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv --clear .venv; }
	@command -v krb5-config >/dev/null && command -v gcc >/dev/null || \
	  { apt-get update -q && apt-get install -qy gcc libkrb5-dev python3-dev; } # for auth: kerberos
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(READY) ## the main job, against a Samba AD that it starts itself
	@PYTHONPATH=tests $(BIN)/python docker/demo.py

test: $(READY) lint ## everything: lint, unit, contract and system tests; WORKERS= at a time
	timeout --signal=INT --kill-after=60 2640 $(BIN)/pytest \
	  --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

soak: $(READY) crash ## that, an outage in real time, the state machine for 15 minutes each: SOAK_S=, JOBS=
	PYTHONPATH=tests $(BIN)/python -m system.faults.soak
	PYTHONPATH=tests $(BIN)/python -m system.machine.soak

crash: $(READY) ## killed at every effect, and 200 times at random: EVERY=, ROUNDS=, FIGURES=docs/…
	PYTHONPATH=tests $(BIN)/python -m system.crash.cost
	PYTHONPATH=tests $(BIN)/python -m system.crash.soak

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## what things cost, beside other ways of doing them: USERS=, RUNS=, HOUR_S=, FIGURES=docs/performance.md
	$(BIN)/python -m compileall -q adwatch # as an installation has it
	$(BIN)/python bench/core.py
	PYTHONPATH=tests:. $(BIN)/python -m bench

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate

lock: $(READY) ## the locks anew, from pyproject.toml: all for development, and what the image needs
	$(BIN)/pip install --quiet uv
	$(COMPILE) --extra dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --extra kerberos --extra ntlm --constraint requirements.lock pyproject.toml \
	  --output-file docker/adwatch/run.lock
	echo hatchling | $(COMPILE) --constraint requirements.lock - --output-file docker/adwatch/build.lock

docs: $(READY) ## the pages that the program writes itself, man pages too, then the site, in site/
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/manual.py
	$(BIN)/mkdocs build --strict --quiet

dist: $(READY) ## the wheel and the source archive, in dist/
	rm -f dist/*.whl dist/*.tar.gz
	$(BIN)/hatchling build -d dist
	ls dist

deb: ## the packages for Debian 12, in dist/
	mkdir -p dist
	container=$$(docker create $$(docker/ensure deb)) && docker cp $$container:/out/. dist/ && docker rm $$container >/dev/null
	rm -f dist/adwatch_0.0.0_*.deb
	ls dist/*.deb

clean: ## all that make has made, but no image
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
