# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes on real sockets: through program healthcheck and a tunnel to a real that our own program unpacks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.probes.streams import Tls
from ansible_collections.katran.fleet.tests.engine.probing import (
    HOST,
    asked,
    balancer_and_real,
    found,
    target,
)
from ansible_collections.katran.fleet.tests.engine.services import (
    CLOSED,
    DNS,
    EXPIRED,
    GARBAGE,
    HTTP,
    MUTE,
    REFUSED,
    RESET,
    SILENT,
    TLS,
    UDP,
    VIPS,
)

ACTIVE = ("active", "")


@pytest.fixture(autouse=True, scope="module")
def certificates() -> Iterator[Path]:
    with balancer_and_real() as folder:
        yield folder


@pytest.fixture
def trust(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts the authority of the services."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.pem"))
    monkeypatch.setattr(Tls, "_contexts", {})


@pytest.mark.parametrize("vip", VIPS)
def test_tcp(vip: str) -> None:
    assert found(HTTP, "tcp", vip=vip) == ACTIVE
    assert found(MUTE, "tcp", vip=vip) == ACTIVE
    assert found(REFUSED, "tcp", vip=vip) == ("down", "connection refused")
    assert found(SILENT, "tcp", vip=vip, timeout=0.2) == ("down", "timeout: no connection")


def test_how_long_a_probe_took() -> None:
    quick, silent = asked(target(HTTP, "tcp"), target(SILENT, "tcp", timeout=0.3))
    assert 0 < quick.took < 0.1
    assert 0.3 <= silent.took < 0.4


@pytest.mark.parametrize("vip", VIPS)
@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/", ACTIVE),
        ("/chunked", ACTIVE),
        ("/until-closed", ACTIVE),
        ("/old", ACTIVE),
        ("/slow", ACTIVE),
        ("/continue", ACTIVE),
        ("/cut", ACTIVE),
        ("/500", ("down", "status 500")),
        ("/301", ("down", "status 301")),
        ("/503", ("draining", "status 503")),
        ("/drain", ("draining", "katran-state: drain")),
        ("/500-drain", ("down", "status 500")),
        ("/long-header", ("down", "header too long")),
        ("/many-headers", ("down", "header too long")),
        ("/cut-header", ("down", "answer cut short")),
        ("/two-lengths", ("down", "not HTTP")),
        ("/no-status", ("down", "not HTTP")),
        ("/mute", ("down", "timeout: no answer")),
        ("/drip", ("down", "timeout: answer not finished")),
    ],
)
def test_http(vip: str, path: str, result: tuple[str, str]) -> None:
    assert found(HTTP, path=path, vip=vip) == result


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/", ACTIVE),
        ("/chunked", ACTIVE),
        ("/until-closed", ACTIVE),
        ("/late-text", ACTIVE),
        ("/continue", ("down", "body without the text")),
        ("/cut", ("down", "answer cut short")),
        ("/long-body", ("down", "text not in the first 64 KiB of the body")),
        ("/pieces", ("down", "answer in too many pieces")),
        ("/500", ("down", "status 500")),
        ("/drain", ("draining", "katran-state: drain")),
    ],
)
def test_a_text_in_the_body(path: str, result: tuple[str, str]) -> None:
    assert found(HTTP, path=path, body="all is well") == result


def test_what_is_sent() -> None:
    for body in ("GET /echo HTTP/1.1", f"Host: {VIPS[0]}:{HTTP}", "User-Agent: katran-agent", "Connection: close"):
        assert found(HTTP, path="/echo", body=body) == ACTIVE
    assert found(HTTP, vip=VIPS[1], path="/echo", body=f"Host: [{VIPS[1]}]:{HTTP}") == ACTIVE
    assert found(HTTP, path="/echo", host=HOST, body=f"Host: {HOST}\r\n") == ACTIVE
    headers = (("user-agent", "me"), ("X-Probe", "1"))
    assert found(HTTP, path="/echo", headers=headers, body="X-Probe: 1") == ACTIVE
    assert found(HTTP, path="/echo", headers=headers, body="katran-agent")[0] == "down"
    assert found(HTTP, path="/echo", method="POST", body="Content-Length: 0") == ACTIVE
    assert found(HTTP, path="/", method="HEAD") == ACTIVE


def test_statuses_that_are_asked_for() -> None:
    assert found(HTTP, path="/500", status=(200, 500)) == ACTIVE
    assert found(HTTP, path="/503", status=(503,)) == ACTIVE
    assert found(HTTP, path="/500", drain_status=(500,)) == ("draining", "status 500")
    assert found(HTTP, path="/503", drain_status=()) == ("down", "status 503")


def test_a_request_that_cannot_be_made_proves_nothing() -> None:
    state, reason = found(HTTP, path="/with space")
    assert state == ""
    assert reason.startswith("not asked: ")


def test_what_is_no_http() -> None:
    assert found(GARBAGE) == ("down", "not HTTP")
    assert found(TLS)[0] == "down"
    assert found(CLOSED)[1] in ("closed without an answer", "connection reset")
    assert found(RESET) == ("down", "connection reset")
    assert found(REFUSED) == ("down", "connection refused")
    assert found(MUTE) == ("down", "timeout: no answer")
    assert found(SILENT) == ("down", "timeout: no connection")


@pytest.mark.parametrize("vip", VIPS)
@pytest.mark.parametrize("kind", ["tls", "https"])
def test_tls(vip: str, kind: str, trust: None) -> None:
    good, late = asked(target(TLS, kind, vip=vip), target(EXPIRED, kind, vip=vip))
    assert (good[:2], late[:2]) == (ACTIVE, ACTIVE)
    assert abs(good.expires - time.time() - 10 * 86400) < 3600
    assert abs(late.expires - time.time() + 10 * 86400) < 3600
    assert found(TLS, kind, vip=vip, verify=True, host=HOST) == ACTIVE
    assert found(TLS, kind, vip=vip, verify=True, host=f"{HOST}:{TLS}") == ACTIVE
    assert found(EXPIRED, kind, verify=True, host=HOST) == ("down", "certificate: certificate has expired")
    state, reason = found(TLS, kind, verify=True, host="other.example.net")
    assert state == "down"
    assert reason.startswith("certificate: Hostname mismatch")
    assert found(TLS, kind, verify=True)[1].startswith("certificate: IP address mismatch")


def test_a_certificate_of_nobody_trusted() -> None:
    state, reason = found(TLS, "tls", verify=True, host=HOST)
    assert state == "down"
    assert reason.startswith("certificate: unable to get local issuer certificate")


def test_what_is_no_tls() -> None:
    for kind in ("tls", "https"):
        assert found(GARBAGE, kind) == ("down", "not TLS")
        # The reset that our first word brings may be there before the end is read.
        assert found(CLOSED, kind)[1] in ("closed in the TLS handshake", "connection reset")
        assert found(RESET, kind) == ("down", "connection reset")
        assert found(REFUSED, kind) == ("down", "connection refused")
        assert found(MUTE, kind) == ("down", "timeout: no TLS handshake")
    assert found(TLS, "tls", host="x" * 70)[0] == ""


def test_https() -> None:
    assert found(TLS, "https", path="/500") == ("down", "status 500")
    assert found(TLS, "https", path="/drain") == ("draining", "katran-state: drain")
    assert found(TLS, "https", path="/late-text", body="all is well") == ACTIVE
    assert found(TLS, "https", path="/until-closed", body="all is well") == ACTIVE
    assert found(TLS, "https", path="/long-body", body="all is well")[0] == "down"
    assert found(TLS, "https", path="/echo", host=HOST, body=f"Host: {HOST}") == ACTIVE
    answer = asked(target(TLS, "https", path="/mute"))[0]
    assert answer[:2] == ("down", "timeout: no answer")


@pytest.mark.parametrize("vip", VIPS)
def test_udp(vip: str) -> None:
    def payload(text: bytes, expect: bytes = b"") -> tuple[str, str]:
        return found(UDP, "udp", vip=vip, payload=text.hex(), expect=expect.hex(), timeout=0.3)

    assert payload(b"ping") == ACTIVE
    assert payload(b"") == ACTIVE
    assert payload(b"ping", b"pong") == ACTIVE
    assert payload(b"ping", b"po") == ACTIVE
    assert payload(b"ping", b"pongs") == ("down", "unexpected answer")
    assert payload(b"hello", b"pong") == ("down", "unexpected answer")
    assert payload(b"mute") == ("down", "timeout: no answer")
    assert found(REFUSED, "udp", vip=vip) == ("down", "connection refused")


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ("health", ACTIVE),
        ("", ACTIVE),
        ("servfail", ("down", "DNS SERVFAIL")),
        ("refused", ("down", "DNS REFUSED")),
        ("nxdomain", ("down", "DNS NXDOMAIN")),
        ("garbage", ("down", "not DNS")),
        ("question", ("down", "not DNS")),
        ("other", ("down", "answer to another question")),
        ("stranger", ACTIVE),
        ("mute", ("down", "timeout: no answer")),
    ],
)
def test_dns(query: str, result: tuple[str, str]) -> None:
    for vip in VIPS:
        assert found(DNS, "dns", vip=vip, query=query, timeout=0.3) == result
    assert found(REFUSED, "dns", query="health") == ("down", "connection refused")


def test_dns_that_nobody_can_ask() -> None:
    for options in ({"query": "a" * 70}, {"query": "health", "record": "NONSENSE"}):
        assert found(DNS, "dns", **options)[0] == ""
