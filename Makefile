# SPDX-License-Identifier: GPL-3.0-or-later
# `make` alone lists the targets. The rules are one line each: the work is in scripts/ and tests/.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .cache/venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

include tests/lab/lab.mk
-include tests/kernels/kernels.mk

# In this order: what fails fastest comes first, and pytest's closing lines come last. Sanity runs the unit tests, too.
TESTS := lint docs sanity engine lab-test molecule+kernels conformance

.PHONY: help
help: ## this list
	@echo 'usage: make TARGET    (as root, on Debian 12; everything that is missing gets installed)'
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(filter-out Makefile,$(MAKEFILE_LIST)) Makefile

.PHONY: venv
venv: ## install Debian's packages and the venv .cache/venv
	@scripts/setup

.PHONY: test
test: venv ## everything below, then a summary; TESTS="unit lint" for some of it
	@scripts/test $(TESTS)

.PHONY: test-full
test-full: venv ## the same, with every pair of features in the sweep of combinations
	@KATRAN_SWEEP=pairs scripts/test $(TESTS)

.PHONY: unit
unit: venv ## engine, filters and modules, in memory
	@pytest -n 2 tests/unit

.PHONY: mutants
mutants: venv ## small faults planted in the pure room, and which its tests miss; goes on where it was (hours)
	@nice python tests/mutation/run.py $(MUTANTS)

.PHONY: engine
engine: venv ## the engine on real maps and interfaces in namespaces: drift, faults, program life
	@scripts/workers 3 tests/engine

.PHONY: engine-proofs
engine-proofs: venv ## what make engine tries a part of: every kill point, every damaged file (an hour)
	@KATRAN_PROOFS=1 scripts/workers 3 tests/engine -m 'proof or dosed'

.PHONY: conformance
conformance: venv ## the compiled datapath against recorded packets, by BPF_PROG_TEST_RUN
	@pytest -n 2 --dist worksteal tests/conformance

.PHONY: molecule
molecule: venv ## every molecule scenario
	@# A run that was ended left its state, by which the next would take the laboratory for built.
	@MOLECULE_COMMAND_BORDERS=0 NO_COLOR=1 molecule destroy --scenario-name default >/dev/null 2>&1
	@MOLECULE_COMMAND_BORDERS=0 $(if $(MAKE_TERMOUT),,NO_COLOR=1) molecule test --all

.PHONY: sanity
sanity: venv ## ansible-test sanity and units on the built and installed collection
	@scripts/sanity

.PHONY: lint
lint: venv ## ruff, mypy, ansible-lint, yamllint, antsibull, shellcheck
	@scripts/lint

.PHONY: docs
docs: venv ## the site, in build/site/html: docs/ and the reference made of the code; a warning is an error
	@scripts/docs

.PHONY: callback-versions
callback-versions: venv ## callback folded with the newest ansible-core, which PyPI brings
	@scripts/callback-versions

.PHONY: plant
plant: venv ## do the tests notice small faults in bpf/, engine and roles? PLANT="root- swap-" for some of them
	@scripts/plant $(PLANT)

.PHONY: bench
bench: venv ## ns and million packets a second by kind of packet, and what each feature costs
	@PYTHONPATH=collections python tests/bench/packets.py
	@PYTHONPATH=collections python tests/bench/packets.py --costs

.PHONY: bench-flows
bench-flows: venv ## ns per packet by the number of flows, up to a million, beside the yardstick; writes docs/performance.md, draws
	@PYTHONPATH=collections python tests/bench/flows.py --write $(BENCH)
	@PYTHONPATH=collections python tests/bench/flows.py --tables --write --flows 1 1024 16384 262144 1048576 $(BENCH)

.PHONY: bench-live
bench-live: venv ## frames through veth pairs: million a second with one core and two, without loss; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/live.py --write $(BENCH)

.PHONY: bench-ipvs
bench-ipvs: venv ## ours beside IPVS in tunnel mode, in a virtual machine with a kernel that has both; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/ipvs.py --write $(BENCH)

.PHONY: bench-engine
bench-engine: venv ## how long the engine takes, up to 512 VIPs of 100 reals, beside the targets; writes docs/performance.md
	@PYTHONPATH=collections nice -n 10 python tests/bench/engine.py --write $(BENCH)

.PHONY: bench-engine-large
bench-engine-large: venv ## the same for a million source routes, and 1,000 reals for each of 512 VIPs, in 2 GB of memory
	@PYTHONPATH=collections nice -n 10 python tests/bench/engine.py --large --write --rounds 1

.PHONY: bench-katran
bench-katran: venv ## how long the command katran takes on a balancer of 512 VIPs of 100 reals, and what katran top does
	@PYTHONPATH=collections python tests/bench/katran.py

.PHONY: bench-report
bench-report: venv ## how large the report of fifty balancers is, and how long it takes to write; figures beside the targets
	@PYTHONPATH=collections python tests/bench/report.py

.PHONY: screenshots
screenshots: venv ## docs/pictures/report-*.png, of the report of a laboratory of its own with a few things wrong
	@scripts/screenshots

.PHONY: bench-agent
bench-agent: venv ## what checks cost the agent: core share, µs and memory by type; figures beside the targets
	@PYTHONPATH=collections python tests/bench/agent.py $(BENCH)

.PHONY: bench-reaction
bench-reaction: venv ## how soon a dead real is out of every ring, and back (100 trials each); writes docs/performance.md
	@PYTHONPATH=tests/lab python tests/bench/reaction.py

.PHONY: bench-large
bench-large: venv ## the same where 512 VIPs share 100 reals, and what the agent then takes; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/large.py $(BENCH)

.PHONY: doctor-trials
doctor-trials: venv ## do katran doctor, under load, and the playbook find nothing in 20 runs on a healthy fleet?
	@KATRAN_TRIALS=20 pytest -q -s tests/lab/test_doctor.py tests/lab/test_doctor_fleet.py -k "healthy or sound"

.PHONY: bench-sync
bench-sync: venv ## how soon a peer has the flows that a change of a ring leaves behind; writes docs/performance.md
	@PYTHONPATH=collections nice python tests/bench/sync.py

.PHONY: bench-drain-real
bench-drain-real: venv ## how soon 50 balancers send no new flow to a real that is drained; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/drain_real.py $(BENCH)

.PHONY: bench-quic
bench-quic: venv ## 1,000 connections of QUIC per layout of ids move while reals change; writes docs/performance.md
	@PYTHONPATH=collections nice python tests/bench/quic.py $(BENCH)

.PHONY: bench-katran-import
bench-katran-import: venv ## how long it takes to read a Katran of 512 VIPs of 100 reals; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/katran_moves.py import

.PHONY: bench-katran-swaps
bench-katran-swaps: venv ## 20 swaps of a Katran for ours under load, and back: packets lost; writes docs/performance.md
	@PYTHONPATH=collections python tests/bench/katran_moves.py swaps $(BENCH)

.PHONY: bench-katran-mixed
bench-katran-mixed: venv ## ours and a Katran behind ECMP for 600 s (BENCH=SECONDS): flows misrouted; writes docs/performance.md
	@PYTHONPATH=collections nice python tests/bench/katran_moves.py mixed $(BENCH)

.PHONY: bench-fleet
bench-fleet: venv ## what a deploy costs the controller, up to 50 hosts; BENCH="--vips 100" for other options
	@nice -n 10 python tests/bench/fleet.py $(BENCH)

.PHONY: bench-plan
bench-plan: venv ## how long a plan of 50 balancers x 512 VIPs x 100 reals takes, and its lines; writes docs/performance.md
	@nice -n 10 python tests/bench/plan.py

.PHONY: bench-drift
bench-drift: venv ## what playbook drift takes for each host of the laboratory, which is to be up and deployed
	@KATRAN_LAB=$${KATRAN_LAB:-kf} python tests/bench/drift.py inventories/lab $(BENCH)

.PHONY: importer
importer: venv ## what Galaxy checks of an upload, on the built artifact
	@scripts/importer

.PHONY: release
release: venv ## check, build, importer, SBOM, checksums: .cache/release (docs/releasing.md)
	@scripts/release

.PHONY: clean
clean: ## remove caches and build results, not the laboratory (make lab-down)
	@rm -rf .cache .ansible build tests/output changelogs/.plugin-cache.yaml katran-fleet-*.tar.gz
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
