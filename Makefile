# Everything below sets up what it needs on a fresh Debian or Ubuntu machine with git, make and Python 3.11 or later.
SHELL := /bin/sh
BIN := .venv/bin
export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/sbin
unexport PYTHONPATH

.PHONY: help demo test check pictures bench fuzz lock clean

help:
	@echo "make demo   three origins, the balancer and some traffic; Ctrl-C stops it"
	@echo "make test   all checks and tests"
	@echo "make pictures  docs/pictures, drawn anew"
	@echo "make bench  the figures of the README, measured here (BENCH=NAME: one of them)"
	@echo "make fuzz   a long search for messages that break a claim (EXECUTIONS=1000000 EXAMPLES=2000)"
	@echo "make lock   resolve the dependencies anew"

.venv/ready: tools/setup pyproject.toml requirements-dev.lock
	tools/setup venv
	touch $@

demo: .venv/ready
	@$(BIN)/balance demo

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/balance-gen check

test: check
	tools/setup programs prometheus=prometheus promtool=prometheus prometheus-alertmanager=prometheus-alertmanager amtool=prometheus-alertmanager \
		vmalert=victoria-metrics jsonnet=jsonnet slowhttptest=slowhttptest chromium-headless-shell=chromium-headless-shell
	tools/setup modules tests/preview
	$(BIN)/balance-gen test
	$(BIN)/python -m pytest -n 2 $(PYTEST)

pictures: .venv/ready
	tools/setup programs chromium-headless-shell=chromium-headless-shell
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

lock: .venv/ready
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--group dev pyproject.toml --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--group bench --output-file requirements-bench.lock

clean:
	rm -rf .venv .tools .fuzz .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
