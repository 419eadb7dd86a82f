# Every target is idempotent and calls what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: needs help setup demo deb test test-hosts lint bench fuzz generate chart image

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(STAMP) ## .venv with every command in .venv/bin

$(STAMP): requirements/dev.txt pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" tools/setup.sh $(VENV)
	@touch $@

demo: $(STAMP) ## server, agent and three virtual cameras, live
	@$(BIN)/python tools/demo.py

deb: $(STAMP) ## Debian packages for Debian 12 and 13, below dist/
	@$(BIN)/python tools/deb.py

lint: $(STAMP) ## format, lint, types, borders, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/generate.py --check
	@$(BIN)/python tools/openapi.py --check
	@$(BIN)/python tools/ansible_docs.py --check

generate: $(STAMP) ## rewrite crds/ and docs/reference/ from the models
	@$(BIN)/python tools/generate.py
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python tools/http_reference.py
	@$(BIN)/python tools/streams_proof.py

needs:
	@tools/needs.sh

test: needs lint ## lint, then every test
	@tools/kube_binaries.sh >/dev/null
	@tools/helm.sh >/dev/null
	@tools/s3_server.sh >/dev/null
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not bench and not hosts" $(PYTEST_ARGS)

test-hosts: $(STAMP) ## packages and units on booted Debian 12 and 13 hosts; as root
	@tools/needs.sh hosts
	@$(BIN)/pytest -m hosts tests/hosts $(PYTEST_ARGS)

chart: $(STAMP) ## lint charts/rop and install it on a real API server
	@$(BIN)/pytest tests/charts

image: $(STAMP) ## container image as build/rop-operator.oci.tar, by buildah; BASE=debian needs no registry
	@tools/image.sh

bench: $(STAMP) ## measurements: CPU seconds, KiB, ratios
	@PYTHONPATH=tools $(BIN)/python tests/load/bench.py

fuzz: $(STAMP) ## ten million cases through every parser; FUZZ_CASES, FUZZ_TARGETS
	@$(BIN)/python tests/fuzz/run.py
