# Every command of the project. Plain `make` lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
PY := $(VENV)/bin/python
PROTOS := $(wildcard proto/*/*.proto)
CACHE := $(or $(KAFSCALE_TOOLCHAIN_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kafscale)
UV_VERSION := 0.13.9
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes

# The first Python that is new enough and really runs with venv: a name on PATH may be a shim for nothing.
PYTHONS := python3.13 python3.12 python3.11 python3 python
NEW_ENOUGH := import sys, ensurepip, sqlite3, ssl, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(PYTHONS); do "$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$p" && break; done)
NO_PYTHON := no Python 3.11 or newer (with venv) runs here: install one, or name it with make PYTHON=...
need_python = $(or $(PYTHON),$(error $(NO_PYTHON)))

.PHONY: help up stack stack-restart bucket-verify bench chaos sim setup setup-runtime proto tools prerequisites images images-check e2e lint format check-build test test-fast lock clean

help: ## list the commands
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# What the services need, and nothing else: enough for `make up`.
$(VENV)/runtime.stamp: requirements.lock
	@$(PY) -c '' 2>/dev/null || { echo "setup: making $(VENV) with $(need_python)"; $(need_python) -m venv --clear $(VENV); }
	@echo "setup: installing $$(grep -c == requirements.lock) packages into $(VENV) (about a minute the first time)"
	@$(PY) $(PIP_INSTALL) -r requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "setup: installing what the tests and checks need on top (about a minute the first time)"
	@$(PY) $(PIP_INSTALL) -r requirements-dev.lock
	@touch $@

$(VENV)/proto.stamp: $(PROTOS) $(VENV)/runtime.stamp
	@echo "setup: generating code from $(words $(PROTOS)) protobuf files"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -I. \
		--python_out=. --pyi_out=. --grpclib_python_out=. $(PROTOS)
	@touch $@

setup-runtime: $(VENV)/runtime.stamp $(VENV)/proto.stamp ## install what the services need, generate code

setup: setup-runtime $(VENV)/dev.stamp ## install what tests and checks need as well

proto: $(VENV)/proto.stamp ## generate the protobuf code

# In a process group of its own, so that Ctrl-C reaches the program alone: make would die of it.
FRONT := bash -c 'set -m; "$$@"; exit $$?' front

up: setup-runtime ## serve Kafka on 127.0.0.1:9092, everything in ./data (KAFSCALE_DATA_DIR)
	@$(FRONT) $(PY) -m services.standalone

stack: setup ## etcd, MinIO and every service as processes here; RESTART=1 starts the dead again
	@$(FRONT) $(PY) -m tools.stack up $(if $(RESTART),--restart)

stack-restart: setup ## start one process of the running stack again: NAME=owner-0
	@$(PY) -m tools.stack restart $(or $(NAME),$(error say which: make stack-restart NAME=owner-0))

bucket-verify: setup-runtime ## verify the bucket of the KAFSCALE_* settings: BUCKET="--sample 0.1 --json"
	@$(PY) -m tools.bucket verify $(BUCKET)

bench: setup tools ## throughput and latency beside Apache Kafka, as ratios (about 10 minutes)
	@$(PY) -m tests.bench $(BENCH)

sim: setup ## the whole cluster in one simulated process: SEED=7 STEPS=2000, or many by SEEDS=1..100 JOBS=2
	@$(FRONT) $(PY) -m tests.sim $(if $(SEEDS),--seeds $(SEEDS) --jobs $(or $(JOBS),2),--seed $(or $(SEED),1)) --steps $(or $(STEPS),2000) $(SIM)

chaos: setup tools ## break a stack under load and judge what clients saw: MINUTES=10 SEED=7
	@$(FRONT) $(PY) -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(CHAOS)

prerequisites: ## name what this machine lacks for `make test`, in one line each
	@$(need_python) -m tools.toolchain --check

tools: setup ## build the real servers and clients that tests use, once, into a cache
	@$(PY) -m tools.toolchain

images: ## build the container images by buildah: BASE=... BUILD_BASE=... TAG=... TARGETS="gateway metadata"
	@$(need_python) -m tools.images build $(if $(BASE),--base $(BASE)) $(if $(BUILD_BASE),--build-base $(BUILD_BASE)) \
		$(if $(TAG),--tag $(TAG)) $(TARGETS)

images-check: setup ## build all images on a Debian base made here, look into them and run them (needs root)
	@$(PY) -m tools.images check

e2e: setup ## a real Kubernetes control plane and the built images: operator, chart, rolls, scaling (needs root)
	@$(PY) -m tests.e2e $(E2E)

lint: setup ## style, types and layers
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m tools.tidy

format: setup ## rewrite the code the way lint wants it
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

check-build: setup ## the BUILD files' rules, with Pants (needs a Python 3.9)
	@$(PY) -m tools.check_build

test: prerequisites setup tools lint check-build ## everything that must be green (cold: up to 55 minutes)
	@$(PY) -m pytest

test-fast: setup ## unit tests and walks, under a minute
	@$(PY) -m pytest tests/unit tests/walk

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@$(need_python) -m venv --clear $(CACHE)/uv-$(UV_VERSION)
	@$(CACHE)/uv-$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

LOCK = $(CACHE)/uv-$(UV_VERSION)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml

lock: $(CACHE)/uv-$(UV_VERSION)/bin/uv ## pin the dependencies of pyproject.toml again
	@$(LOCK) --extra build -o requirements.lock
	@$(LOCK) -c requirements.lock -o requirements-runtime.lock
	@$(LOCK) --extra build --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## remove the virtual environment, generated code and caches of this tree (never ./data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .pants.d .pids dist
	@find proto \( -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_grpc.py' \) -delete
	@find libs proto services tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
