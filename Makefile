# Every target sets up what it needs: a Python 3.11 to 3.14 is found (or named: make PYTHON=...), environments are made
# once for each content of their requirements file. What takes arguments takes them as ARGS="...".
SHELL := /bin/sh
.DEFAULT_GOAL := help
export PYTHON

PY := .venv/bin/python
ARGS ?=
SUITES ?= tests/unit tests/contract tests/fault tests/process
PYTEST := $(PY) -m pytest $(ARGS)
recorder_sources := $(shell find layer/recorder -name __pycache__ -prune -o -type f -print)
blackbox_sources := $(shell find layer/blackbox -name __pycache__ -prune -o -type f -print)

.PHONY: help
help:  ## print this
	@sed -n 's/^\([a-z0-9-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-24s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: build/coldspan-recorder.zip venv-sam  ## run every sample on the real emulator, locally, and show what was recorded (no Docker, no account)
	@$(PY) -m coldspan_console.demo $(ARGS)

.PHONY: test
test: venv  ## run the fast suites: unit, contract and console
	@$(PYTEST) tests/unit tests/contract tests/console

.PHONY: lint
lint: venv  ## check style, format and types
	@failed=0; for check in "ruff check ." "ruff format --check ." mypy; do \
		echo "$$check"; $(PY) -m $$check || failed=1; done; exit $$failed

.PHONY: format
format: venv  ## format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix --quiet . || true

.PHONY: layer
layer: venv build/coldspan-recorder.zip build/coldspan-blackbox.zip  ## build both layers: build/recorder and build/blackbox (what is mounted at /opt) and their zips

build/coldspan-recorder.zip: $(recorder_sources) | venv
	@$(PY) layer/recorder/build.py --into build/recorder --zip $@

build/coldspan-blackbox.zip: $(recorder_sources) $(blackbox_sources) | venv
	@$(PY) layer/blackbox/build.py --into build/blackbox --zip $@ $(if $(wildcard layer/blackbox/vendor.py),--extra otlp)

.PHONY: fault
fault: layer  ## run the table of stages and faults
	@$(PYTEST) tests/fault

.PHONY: process
process: layer  ## run the suite of fresh interpreters, fork, threads and signals
	@$(PYTEST) tests/process

.PHONY: test-report
test-report: venv-browser  ## run the report in a real browser, which .ci/browser installs; SCREENSHOTS=1 writes docs/images
	@COLDSPAN_SCREENSHOTS=$(SCREENSHOTS) .venv-browser/bin/python -m pytest $(ARGS) tests/report

.PHONY: e2e
e2e: layer venv-sam neighbours venv-destinations  ## run the layer on the real emulator (and by sam local, where there is Docker)
	@$(PYTEST) tests/e2e

.PHONY: test-destinations
test-destinations: venv venv-destinations  ## run the black box's exporters against real receivers, in an environment of their own
	@$(PYTEST) tests/destinations

.PHONY: soak
soak: layer venv-sam  ## 20,000 invocations on the real emulator, with kills and faults: each is told once (COUNT=, SEED=)
	@COLDSPAN_SOAK=$(or $(COUNT),20000) COLDSPAN_SEED=$(SEED) $(PYTEST) tests/e2e/test_soak.py

.PHONY: test-platform
test-platform: layer venv-sam  ## run the local platform: what the service promises, load, and what is left behind
	@$(PYTEST) tests/platform

.PHONY: test-aiobotocore
test-aiobotocore:  ## run the aiobotocore tests, in their own environment: it pins an old botocore
	@.ci/venv .venv-aiobotocore requirements/aiobotocore.txt
	@.venv-aiobotocore/bin/python -m pytest $(ARGS) $(or $(shell find tests -name 'test_*aiobotocore*.py'),tests/aiobotocore)

.PHONY: test-python
test-python:  ## run unit, contract, fault and process (or SUITES) under another Python: VERSION=3.12
	@.ci/venv .venv-$(VERSION) requirements/test.txt $(VERSION)
	@.venv-$(VERSION)/bin/python -m pytest $(ARGS) $(SUITES)

.PHONY: bench
bench: layer  ## measure coldspan and its peers side by side; results go to bench/results
	@$(PY) bench/run.py $(ARGS)

.PHONY: validate
validate: venv-sam  ## check template.yaml with sam
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 .venv-sam/bin/sam validate --lint

.PHONY: venv
venv:
	@.ci/venv .venv requirements/test.txt

.PHONY: neighbours
neighbours: venv
	@for name in powertools opentelemetry xray datadog; do \
		.ci/packages build/neighbours/$$name requirements/neighbours-$$name.txt || exit; done

.PHONY: venv-sam
venv-sam:
	@.ci/venv .venv-sam requirements/sam.txt

.PHONY: venv-browser
venv-browser:
	@.ci/venv .venv-browser requirements/browser.txt

.PHONY: venv-destinations
venv-destinations:
	@.ci/venv .venv-destinations requirements/destinations.txt

.PHONY: clean
clean:  ## remove what make has made
	rm -rf build dist .venv .venv-* .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find layer console functions tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
