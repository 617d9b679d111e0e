CACHE := $(or $(CLICKAHEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/clickahead)
LOCK := sh deploy/install.sh uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--no-header --python-version 3.11 $(LOCK_ARGS)

export PATH := $(CACHE)/promtool:$(PATH)

TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test chaos soak bench bench-peers bench-scale bench-baseline lint \
	format lock bundled clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## install what the worker and the demo need into .venv (PYTHON=... names an interpreter)
	@sh deploy/install.sh serve

setup-dev: ## install everything: training, tests and linters too
	@sh deploy/install.sh dev

demo: setup ## run it all with a click stream and show it live (DEMO_ARGS="--seconds 60 --plain")
	@.venv/bin/clickahead demo $(DEMO_ARGS)

test: lint ## run all linters and tests, those against a real Kafka too (TEST_ARGS="-k window")
	@sh deploy/promtool.sh "$(CACHE)/promtool"
	.venv/bin/pytest -n $(TEST_PROCESSES) --dist loadfile $(TEST_ARGS)

chaos: setup-dev ## kill a real cluster and its workers by seed, compare with replay (SEEDS=20 DELIVERY=both)
	@.venv/bin/python -m tests.chaos.run $(strip \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST_SEED),--first-seed $(FIRST_SEED)) \
		$(if $(DELIVERY),--delivery $(DELIVERY)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(KILLS),--kills $(KILLS)) $(if $(RATE),--rate $(RATE)))

soak: setup-dev ## two workers for hours: memory, descriptors and answers must stay as they are (MINUTES=10)
	@.venv/bin/python -m tests.chaos.soak $(strip \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)))

bench: setup-dev ## measure against Faust, aiokafka, Quix and a copy loop (BENCH_ARGS="--rounds 3")
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.bench.run $(BENCH_ARGS)

bench-peers: setup-dev ## the same, and against Bytewax and Kafka Streams in Java
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.bench.run --peers $(BENCH_ARGS)

bench-scale: setup-dev ## how cost grows with users, history, items, workers and partitions; what to plan
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.bench.scale $(BENCH_ARGS)

bench-baseline: setup-dev ## renew what the core may cost before its test fails
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.bench.guard --renew

lint: setup-dev ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup-dev ## rewrite the sources in the project's style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## renew the lock files (LOCK_ARGS=--upgrade takes newer versions)
	printf 'uv\nhatchling\neditables\n' | $(LOCK) -o deploy/bootstrap.lock -
	$(LOCK) -o requirements.lock pyproject.toml
	{ sed -n 's/^\(numpy\|onnxruntime\|safetensors\)\(==.*\) \\$$/\1\2/p' requirements.lock; \
		printf 'bytewax[kafka]\norjson\nquixstreams\n'; } | $(LOCK) -o tests/bench/peers/requirements.lock -
	$(LOCK) -o requirements-dev.lock -c requirements.lock --extra train --extra spark --extra dev pyproject.toml

bundled: setup-dev ## make the bundled model anew: simulate a shop, train on it (seeded; minutes)
	.venv/bin/clickahead simulate --out build/shop.jsonl.gz --events 400000 --rate 0.4 \
		--attacks none --seed 1
	.venv/bin/clickahead train build/shop.jsonl.gz --out build/bundled --set name=bundled \
		--set hidden_width=64 --set epochs=6 --set held_out=0.2
	mkdir -p model/bundled
	cp build/bundled/*.safetensors build/bundled/*.json build/bundled/*.onnx model/bundled/

clean: ## remove .venv and what tools left behind, not the cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
