# `make demo` and `make test` need python3 (3.11 or newer) and pip, nothing else; both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
# Tests that compute: a process more than there are cores. Tests that wait for real processes: more of them beside those.
CORES := $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
TESTERS ?= $(shell expr $(CORES) + 1)
WAITERS ?= $(shell expr 2 '*' $(CORES) + 1)
ENGINES ?= futures netns slurm dask ray
WAITING := tests/faults tests/contract
# The last three have targets of their own, and need more than pip.
COMPUTING := $(patsubst %,--ignore=%,$(WAITING) tests/browser tests/inspect tests/engines)
PYTEST := $(BIN)/python -m pytest -q --dist worksteal
AGAIN := $(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none --maxfail 1
# Else every process that the tests start would compile the whole package.
unexport PYTHONDONTWRITEBYTECODE
DEMO := demo

.PHONY: again bench bench-hosts bench-scale browser calibration chaos chaos-hosts check clean computing demo \
  fuzz help inspect laws reference soak test test-engines unit waiting

help:
	@echo "make demo    generate a sample library, plan it, run it, show it"
	@echo "make test    install, run all checks and tests"
	@echo "make again   the tests that failed last, one after the other"
	@echo "make check   ruff, mypy, import-linter only"
	@echo "make browser the report in a real browser; needs Debian's chromium-headless-shell or another Chromium"
	@echo "make inspect  logs for Inspect, read back by Inspect itself; installs it"
	@echo "make test-engines  the same behaviour on real engines: Slurm, Ray, Dask, an executor; as root, on Debian (ENGINES=ray)"
	@echo "make laws    the property tests with all their examples, new ones each time (ARGS=--hypothesis-seed=N), the whole hostile corpus, every case that make test leaves out"
	@echo "make reference  write docs/reference: commands, config, python"
	@echo "make fuzz    10,000 mutated files and the whole hostile corpus, a new seed each time"
	@echo "make bench   measure against the usual ways, side by side"
	@echo "make bench-scale  the ways to reach a task, from 60 MB to 6 GB and to ten million tasks, about 20 minutes"
	@echo "make calibration  how often intervals hold the truth, by simulation"
	@echo "make chaos   measure the gates of reliability: hundreds of kills, about ten minutes (ARGS=--quick, --seed N)"
	@echo "make bench-hosts  what a master takes of 1,000 workers on 100 hosts, on loopback (ARGS='--minutes 2', --quick)"
	@echo "make chaos-hosts  the gates of hosts: links cut, hosts frozen, killed, run twice (ARGS=--quick, --seed N)"
	@echo "make soak    a thousand random faults over a hundred thousand tasks (ARGS='--minutes 10 --seed N')"

.venv/run.ok: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/test.ok: .venv/run.ok
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	touch $@

.venv/browser.ok: .venv/test.ok
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[browser]'
	touch $@

.venv/engines.ok: .venv/test.ok
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[engines]'
	touch $@

.venv/bench.ok: .venv/run.ok
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

.venv/inspect.ok: .venv/test.ok
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[inspect]'
	touch $@

demo: .venv/run.ok
	rm -rf $(DEMO)
	mkdir $(DEMO)
	$(BIN)/prealloc library sample $(DEMO)/tasks.json --tasks 630 --workflow-bytes 84000 --seed 1
	$(BIN)/prealloc plan $(DEMO)/tasks.json --shards 25 --num-instances 20 --stratify --seed 7 --out $(DEMO)/plan
	$(BIN)/prealloc run $(DEMO)/plan --worker prealloc.agents.simulate:run --out $(DEMO)/run
	$(BIN)/prealloc results $(DEMO)/run --by type

test: check unit

check: .venv/test.ok
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Both at once, to their ends; each prints all it has to say when it has ended.
unit: .venv/test.ok
	@echo "The tests run: those that wait beside those that compute. Each half is printed when it has ended."
	@$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target waiting computing

# What failed is remembered for each half by itself, for `make again`.
waiting: .venv/test.ok
	rm -f .pytest_cache/$@.ok
	$(PYTEST) -n $(WAITERS) -o cache_dir=.pytest_cache/$@ $(WAITING)
	touch .pytest_cache/$@.ok

# Behind the others where both want the processor: real processes have deadlines.
computing: .venv/test.ok
	rm -f .pytest_cache/$@.ok
	nice -n 10 $(PYTEST) -n $(TESTERS) -o cache_dir=.pytest_cache/$@ $(COMPUTING)
	touch .pytest_cache/$@.ok

again: .venv/test.ok
	test -e .pytest_cache/waiting.ok || $(AGAIN) -o cache_dir=.pytest_cache/waiting $(WAITING)
	test -e .pytest_cache/computing.ok || $(AGAIN) -o cache_dir=.pytest_cache/computing $(COMPUTING)

# A browser that is missing is a failure here.
browser: .venv/browser.ok
	PREALLOC_BROWSER=required $(PYTEST) -n $(TESTERS) tests/browser

# 84 packages; that they are missing is a failure here.
inspect: .venv/inspect.ok
	PREALLOC_INSPECT=required $(PYTEST) tests/inspect

# One after the other: each is a cluster. What failed must pass at a second try, and both are printed: see .ci/run.
# What they share is proven on hosts that are processes, in `make test`.
test-engines: .venv/engines.ok
	tests/engines/packages.sh
	@failed=; for each in $(ENGINES); do \
	  echo "$$each"; \
	  $(MAKE) --no-print-directory on-$$each || $(MAKE) --no-print-directory on-$$each ARGS=--last-failed || failed="$$failed $$each"; \
	done; test -z "$$failed" || { echo "failed on:$$failed"; exit 1; }

on-%: .venv/engines.ok
	PREALLOC_ENGINE=$* PYTHONPATH=tests:tests/engines $(BIN)/python -m pytest -q -p labs --timeout 180 -m "starts or engine" \
	  -o cache_dir=.pytest_cache/engine-$* $(ARGS) tests/engines tests/contract

laws: .venv/test.ok
	PREALLOC_LAWS=all PREALLOC_HOSTILE=all $(BIN)/python -m pytest -q -n $(TESTERS) --dist worksteal $(ARGS) \
	  tests/hostile/test_corpus.py tests/hostile/test_hostile_library.py $$(grep -lr --include='*.py' @given tests)
	PREALLOC_LAWS=all $(PYTEST) -n $(WAITERS) -o cache_dir=.pytest_cache/in-laws -m in_laws tests || \
	  PREALLOC_LAWS=all $(AGAIN) -o cache_dir=.pytest_cache/in-laws -m in_laws tests

reference: .venv/test.ok
	PYTHONPATH=tests $(BIN)/python tests/reference.py

calibration: .venv/test.ok
	$(BIN)/python -m tests.calibration $(ARGS)

fuzz: .venv/test.ok
	PREALLOC_HOSTILE=all $(BIN)/python -m pytest -q tests/hostile/test_corpus.py tests/hostile/test_hostile_library.py
	$(BIN)/python tests/hostile/fuzz.py $(FUZZ)

bench: .venv/bench.ok
	$(BIN)/python -m benchmarks

bench-scale: .venv/bench.ok
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-hosts: .venv/test.ok
	$(BIN)/python -m benchmarks.hosts $(ARGS)

chaos: .venv/test.ok
	$(BIN)/python -m tests.chaos $(ARGS)

chaos-hosts: .venv/test.ok
	$(BIN)/python -m tests.chaos.hosts $(ARGS)

soak: .venv/test.ok
	$(BIN)/python -m tests.chaos.soak $(ARGS)

clean:
	rm -rf .venv $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
