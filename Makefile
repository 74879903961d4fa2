# The commands of everyday work; each also runs what it needs.
SHELL := /bin/bash
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
python := .venv/bin/python

.PHONY: help setup build package test test-models demo bench bench-cuda bench-serving fuzz lint format clean
help:
	@echo 'make setup       install what is missing (Debian packages, .venv)'
	@echo 'make build       release build: build/release'
	@echo 'make package     of it, only what demo and bench run: the command line and the Python package'
	@echo 'make test        everything: linters, tests, sanitizers, fuzzing; closes with totals'
	@echo '                 (a part of it: tools/test --only lint,unit,python,asan,tsan,fuzz)'
	@echo 'make test-models every model at its published size, in every dialect'
	@echo 'make demo        compile, save, load and refit ResNet-18, beside PyTorch'
	@echo 'make bench       speed of inference and refit beside PyTorch, of the engine cache,'
	@echo '                 and of asking whether weights changed'
	@echo 'make bench-cuda  the same on an NVIDIA GPU'
	@echo 'make bench-serving  latency of requests while the weights are replaced'
	@echo 'make fuzz        every fuzz target for FUZZ_SECONDS (600)'
	@echo 'make lint        linters only'
	@echo 'make format      apply clang-format and ruff'
	@echo 'make clean       remove build/ and out/'

setup:
	@tools/setup

build: setup
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release

test:
	@tools/test

test-models:
	@tools/test --only models

package: setup
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release --target regraft _regraft

demo: package
	@PYTHONPATH=build/release/python $(python) tools/demo.py

bench: package
	@PYTHONPATH=build/release/python $(python) benchmarks/bench.py $(BENCH_FLAGS)
	@PYTHONPATH=build/release/python $(python) benchmarks/cache.py --models resnet18 --precisions f32
	@PYTHONPATH=build/release/python $(python) benchmarks/tracking.py

bench-cuda: package
	@PYTHONPATH=build/release/python $(python) benchmarks/bench_cuda.py $(BENCH_FLAGS)

bench-serving: package
	@PYTHONPATH=build/release/python $(python) benchmarks/serving.py $(BENCH_FLAGS)

fuzz: setup
	@tools/fuzz --seconds $(or $(FUZZ_SECONDS),600)

lint:
	@tools/test --only lint

format:
	@git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -r .venv/bin/clang-format -i
	@.venv/bin/ruff check --fix --quiet . && .venv/bin/ruff format --quiet .

clean:
	rm -rf build out
