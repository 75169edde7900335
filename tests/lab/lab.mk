# SPDX-License-Identifier: GPL-3.0-or-later
# Included by the Makefile.

.PHONY: lab
lab: ## a fleet on this machine: build it, deploy, send real traffic through it, deploy again
	@tests/lab/demonstrate

.PHONY: demo
demo: ## a tour of five minutes in the laboratory, with traffic: kill, drain, power cut, upgrade, drift
	@scripts/setup engine lab
	@.cache/venv/bin/python tests/lab/demo $(DEMO)

.PHONY: recording
recording: ## the same, and docs/pictures/demo.svg made of it; on a machine that does nothing else
	@scripts/setup engine lab
	@.cache/venv/bin/python tests/lab/demo --log .cache/demo.jsonl
	@.cache/venv/bin/python scripts/recording .cache/demo.jsonl

.PHONY: lab-down
lab-down: ## remove the fleet of `make lab` and every trace of it
	@tests/lab/lab down

.PHONY: lab-test
lab-test: venv ## the collection against a fleet with real traffic
	@scripts/workers 2 tests/lab

.PHONY: lab-proofs
lab-proofs: venv ## what make lab-test tries a part of, with all trials, and what fails without the remedy
	@KATRAN_PROOFS=1 scripts/workers 2 tests/lab -m 'proof or dosed'

.PHONY: lab-upgrades
lab-upgrades: venv ## twenty upgrades and five rollbacks under load, and no packet lost
	@KATRAN_UPGRADES=20 pytest tests/lab/test_upgrades.py -k rollbacks

.PHONY: lab-rolling
lab-rolling: venv ## four balancers upgraded under load, a planted fault found and gone back from; writes docs/performance.md
	@PYTHONPATH=tests/lab nice python tests/bench/rolling.py
