# Every command of the project. Plain `make` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PROTOS := $(wildcard proto/*/*.proto)

.PHONY: help setup proto

help: ## list the commands
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/dev.stamp: requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/proto.stamp: $(PROTOS) $(VENV)/dev.stamp
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpclib_python_out=. $(PROTOS)
	@touch $@

proto: $(VENV)/proto.stamp ## generate the protobuf code

setup: $(VENV)/dev.stamp $(VENV)/proto.stamp ## install what the checks need and generate code
