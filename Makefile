# Each target does all its own set-up: make, bash and Python 3.11 or newer with venv are enough.
# PYTHON=/path/to/python chooses the Python; `make clean` starts afresh.

SEEDS ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test check bench ci soak clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: .venv-demo/.installed  ## the main job: a durable census of the standard library, killed half way
	.venv-demo/bin/python examples/stdlib_census/main.py

test: .venv/.installed  ## all checks and tests, within 8 minutes on two cores
	@.venv/bin/python scripts/suites.py test

check: .venv/.installed  ## lint, types and import rules only
	@.venv/bin/python scripts/suites.py check

bench: .venv/.installed  ## the figures of the README, engine against floor
	.venv/bin/python -m benchmarks

ci: .venv/.installed  ## the long suites, each with its budget (.ci/budgets.toml)
	@.venv/bin/python scripts/suites.py ci

soak: .venv/.installed  ## the simulator over SEEDS=100000 seeds, for hours
	.venv/bin/python -m perdure.testing.simulate --seeds $(SEEDS)

clean:  ## remove environments, caches and reports
	rm -rf .venv .venv-demo .ci/out .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# Stamps: an environment is made again only when what it must contain has changed.
.venv/.installed: pyproject.toml scripts/venv
	@scripts/venv .venv dev

.venv-demo/.installed: pyproject.toml scripts/venv
	@scripts/venv .venv-demo cli
