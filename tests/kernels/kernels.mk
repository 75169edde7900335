# SPDX-License-Identifier: GPL-3.0-or-later
# Included by the Makefile.

.PHONY: kernels
kernels: venv ## programs with none and all features on Debian's kernel 6.1, in a virtual machine
	@pytest tests/kernels

.PHONY: test-kernels
test-kernels: venv ## the same with every feature by itself, on 6.1 and 6.12; KERNELS=6.12 for one
	@tests/kernels/matrix $(KERNELS)
