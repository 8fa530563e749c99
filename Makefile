# Everything below sets up what it needs on a fresh Debian or Ubuntu machine with git, make and Python 3.11 or later.
SHELL := /bin/sh
BIN := .venv/bin
export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/sbin
unexport PYTHONPATH

.PHONY: help demo lint quick check promtool test docs docs-serve pictures bench fuzz mutants release-check lock clean

help:
	@echo "make demo   the balancer, backends, traffic, and a page with buttons that break things; Ctrl-C stops it"
	@echo "make quick  format, lint, types, imports, and the tests that start nothing"
	@echo "make test   all checks and tests (TESTS=tests/render: the tests of a part)"
	@echo "make docs   the documentation as a site, into site/; make docs-serve shows it"
	@echo "make pictures  docs/pictures, drawn anew"
	@echo "make bench  the figures of the README, measured here (BENCH=NAME: one of them)"
	@echo "make fuzz   a long search for messages that break a claim (EXECUTIONS=1000000 EXAMPLES=2000)"
	@echo "make mutants  wrong rules and single faults of every kind, and what catches them: some twenty minutes"
	@echo "make release-check   builds what would be released, into dist/, installs it in a fresh environment and looks at it"
	@echo "make lock   resolve the dependencies anew (UPGRADE= keeps what is locked)"

.venv/ready: tools/setup pyproject.toml requirements-dev.lock
	tools/setup venv
	touch $@

# Without the environment of the tests, what the demo needs to run is enough.
.venv/ready-demo: tools/setup pyproject.toml requirements.lock requirements-build.lock
	tools/setup demo
	touch $@

demo: $(if $(wildcard .venv/ready),.venv/ready,.venv/ready-demo)
	@$(BIN)/balance demo

lint: .venv/ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

quick: lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not process" $(PYTEST) $(TESTS)

check: lint
	$(BIN)/balance-gen check

promtool: .venv/ready
	$(BIN)/balance-gen test

test: .venv/ready
	tools/setup programs prometheus=prometheus promtool=prometheus prometheus-alertmanager=prometheus-alertmanager amtool=prometheus-alertmanager \
		vmalert=victoria-metrics jsonnet=jsonnet slowhttptest=slowhttptest curl=curl git=git chromium-headless-shell,chromium=chromium-headless-shell \
		systemd-analyze=systemd
	tools/setup modules tests/preview
	$(if $(TESTS),,$(MAKE) --no-print-directory --output-sync --jobs 2 check docs promtool)
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST) $(TESTS)

# --strict: a link or anchor that leads nowhere is an error (with --quiet it would not be: mkdocs counts the warnings that it shows)
docs: .venv/ready
	env NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --clean --strict

docs-serve: .venv/ready
	env NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --strict --watch balance --watch tools/docs

pictures: .venv/ready
	tools/setup programs chromium-headless-shell,chromium=chromium-headless-shell
	tools/pictures

.venv/ready-bench: .venv/ready requirements-bench.lock
	tools/setup packages requirements-bench.lock
	touch $@

bench: .venv/ready-bench
	tools/setup programs wrk=wrk haproxy=haproxy caddy=caddy nginx=nginx slowhttptest=slowhttptest openssl=openssl taskset=util-linux chrt=util-linux
	$(BIN)/python -m tools.bench $(BENCH)

fuzz: .venv/ready
	$(BIN)/python -m tools.fuzz $(or $(EXECUTIONS),1000000)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),2000) $(BIN)/python -m pytest -n 2 tests/lb/test_fuzz.py

mutants: .venv/ready
	tools/setup programs promtool=prometheus amtool=prometheus-alertmanager
	$(BIN)/python -m tools.mutants
	$(BIN)/python -m tools.mutants.drift --table

.venv/ready-release: .venv/ready requirements-release.lock
	tools/setup packages requirements-release.lock
	touch $@

release-check: .venv/ready-release check
	$(BIN)/python -m tools.release

UPGRADE := --upgrade
COMPILE := $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-header
lock: .venv/ready
	$(COMPILE) --group dev pyproject.toml --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock pyproject.toml --output-file requirements.lock
	$(COMPILE) --constraint requirements-dev.lock --group build --output-file requirements-build.lock
	$(COMPILE) --group bench --output-file requirements-bench.lock
	$(COMPILE) --constraint requirements-dev.lock --group release --output-file requirements-release.lock

clean:
	rm -rf .venv .tools .fuzz .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist site
