# Two commands do everything on a machine with Python 3.11+, make and Node:
#   make serve   run the server          make test   set up, lint, check types, run every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NODE_READY := tests/interop/node_modules/.ready
HOST ?= 127.0.0.1
PORT ?= 3000
ARGS ?=
# Where make serve has its dashboard: on a free port of this machine, which the log and the chat page name.
# DASHBOARD= does without; a configuration file of your own says itself.
DASHBOARD ?= 127.0.0.1:0
TOKEN := $(VENV)/dashboard.token
# The control socket is named after the port, so that two servers may run in one checkout.
CONTROL := unix:$(VENV)/$(PORT).sock
ifneq ($(DASHBOARD),)
ifeq ($(findstring --config,$(ARGS)),)
TOLD := echo "the dashboard, whose address is in the log, takes this token: $$(cat $(TOKEN))"; \
  echo "for a terminal: $(BIN)/trio-socketio ctl --control $(CONTROL) sockets.list"
WITH := TRIO_SOCKETIO__ADMIN__LISTEN=$(DASHBOARD) TRIO_SOCKETIO__CONTROL__LISTEN=$(CONTROL) \
  TRIO_SOCKETIO__CONTROL__TOKENS='[{ name = "dashboard", file = "$(TOKEN)" }]'
endif
endif
# Side by side: see tests/alone.py. ARGS='-n 0' runs them one after the other. Three fill two cores,
# as many tests wait for clients that wait.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# The tests start hundreds of servers. Without bytecode each of them compiles the whole package anew, which
# takes as long as all else that it does, and so do assertions that pytest rewrites.
unexport PYTHONDONTWRITEBYTECODE

# The suite's games of joining and leaving times this, and others in each run.
SOAK ?= 25

.PHONY: help serve test test-browser balancers deployment compiled properties soak logins faults endurance lint types unit conformance fuzz mutants coverage references bench clean

serve: $(VENV)/.served $(TOKEN) ## the lobby, its page and a dashboard; PORT=4000: on another port
	@$(TOLD)
	$(WITH) $(BIN)/trio-socketio serve --host $(HOST) --port $(PORT) $(ARGS)

test: lint types unit ## set up, lint, check types, run every test

help: ## these lines
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1: /p' Makefile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY) $(NODE_READY)
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

properties: $(READY) ## every property with 25 times as many examples as in the suite; ARGS='tests/codec': some of them
	$(BIN)/python -m pytest $(PARALLEL) -m hypothesis --hypothesis-profile depth --time-limit-factor 30 $(ARGS)

soak: $(READY) ## games of joining and leaving against a plain model, a thousand; SOAK=N: 40 times N
	TRIO_SOCKETIO_SOAK=$(SOAK) $(BIN)/python -m pytest tests/socketio/test_joining_model.py $(ARGS)

logins: $(READY) $(NODE_READY) ## 1,000 users with 50 logins each, on two servers and on three nodes, 10 minutes; ARGS='USERS LOGINS SEED'
	$(BIN)/python -m tests.im.logins $(ARGS)
	$(BIN)/python -m tests.im.logins --nodes 3 --rounds 1000 $(ARGS)

faults: $(READY) $(NODE_READY) ## nodes, Redis and clients fail in every way, about 17 minutes; ARGS='presence 1 9': some of it
	$(BIN)/python -m tests.faults $(ARGS)

endurance: $(READY) ## clients come and go in every way for half an hour, on servers with disks and then on nodes; ARGS='--minutes 5'
	$(BIN)/python -m tests.endurance $(ARGS)
	$(BIN)/python -m tests.endurance --nodes 2 $(ARGS)

test-browser: $(READY) $(NODE_READY) ## pages in a headless Chromium, which must be on PATH
	$(BIN)/python -m pytest tests/browser $(ARGS)

balancers: $(READY) $(NODE_READY) ## three nodes behind nginx and haproxy, which must be on PATH; 5 minutes
	$(BIN)/python -m pytest tests/balancers -n 0 $(ARGS)

deployment: $(READY) $(NODE_READY) ## what init --deploy writes, with nginx, haproxy, promtool and systemd-analyze, which must be on PATH; 3 minutes
	$(BIN)/python -m pytest tests/deployment -n 0 $(ARGS)

compiled: $(READY) ## the programs of bench/ that are in C, with a C compiler, which must be on PATH
	$(BIN)/python -m pytest tests/compiled -n 0 $(ARGS)

conformance: $(READY) $(NODE_READY) ## every client, transport and feature; writes spec/conformance.md
	$(BIN)/python -m tests.interop.conformance

fuzz: $(READY) ## a million mutated inputs to every decoder; bounded in time
	$(BIN)/python -m tests.fuzz --inputs 1000000

mutants: $(READY) ## mutation testing, up to an hour; ARGS='net/frames': of these modules alone
	$(BIN)/python -m tests.im.mutants
	$(BIN)/python -m tests.mutants $(ARGS)

coverage: $(READY) $(NODE_READY) ## branches that the tests take, in all their processes
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(PARALLEL) -m "not alone" --time-limit-factor 5 $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

references: $(READY) ## the pages and figures of spec/guide and README that are made out of the code and bench/results
	$(BIN)/python -m tests.guides.references

bench: $(READY) ## against Node and python-socketio; ARGS='--against COMMIT': against a commit; see bench/README.md
	$(BIN)/python -m bench.run $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "trio-socketio needs Python 3.11 or later: set PYTHON=..., found $$($(PYTHON) --version)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.served: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server]'
	@touch $@

$(TOKEN): $(VENV)/bin/python
	@umask 077; $(BIN)/python -c 'import secrets; print(secrets.token_hex(16))' > $@

$(READY): $(VENV)/.served pyproject.toml
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(NODE_READY): tests/interop/package.json tests/interop/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: the tests drive the official JavaScript clients; install Node 18 or later"; exit 1; }
	cd tests/interop && npm ci --silent
	@touch $@

clean:
	rm -rf $(VENV) tests/interop/node_modules build dist
	rm -rf bench/.build bench/.venv-peers bench/peers/node_modules
