# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can run our programs: what is found, and that a first load asks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._program import proof
from ansible_collections.katran.fleet.plugins.module_utils._program.proof import prove_host
from ansible_collections.katran.fleet.tests.engine.life import changed_sources
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, compiled_once, ensure_balancer, sandbox


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(), compiled_once():
        yield


def test_this_host_can() -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert prove_host(BPF) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_bcc_that_does_not_compile() -> None:
    spoilt = changed_sources("spoilt", packet_counter_bpf_c=("XDP_PASS", "XDP_NOTHING"))
    (found,) = prove_host(spoilt)
    assert found.name == "bcc_unfit"
    assert "XDP_NOTHING" in found.cause


def test_a_program_that_does_something_else() -> None:
    (found,) = prove_host(changed_sources("other", packet_counter_bpf_c=("*frames += 1", "*frames += 2")))
    assert found.name == "kernel_unfit"
    assert "counted 2" in found.cause


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EPERM, "CAP_BPF"), (errno.ENOSYS, "CONFIG_BPF_SYSCALL")],
)
def test_a_kernel_that_refuses(code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under lockdown, or in a container: bpf(2) itself answers so."""

    def refuse(*_arguments: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(bpf, "load_program" if code == errno.EPERM else "create_map", refuse)
    monkeypatch.setattr(proof.load, "__defaults__", (refuse,))
    (found,) = prove_host(BPF)
    assert found.name == "kernel_unfit"
    assert words in found.cause


def test_a_first_load_asks_and_the_next_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(proof, "prove_host", lambda source: asked.append(source) or [proof.Unfit("a", "it is", "do")])
    with pytest.raises(ProgramError, match="this host cannot run the balancer's programs: it is; do"):
        ensure_balancer()
    monkeypatch.setattr(proof, "prove_host", lambda source: asked.append(source) or [])
    ensure_balancer()
    ensure_balancer(features=["vlan"])
    assert asked == [BPF, BPF]
