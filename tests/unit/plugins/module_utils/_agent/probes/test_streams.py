# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS with a hostile real: what has no data in it is not read without end."""

from __future__ import annotations

import contextlib
import datetime as dt
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.katran.fleet.plugins.module_utils._agent.probes import web
from ansible_collections.katran.fleet.plugins.module_utils._agent.probes.talk import FOUND, Finding, Talk
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Reach

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(name="context")
def server_context(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "real")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    certificate = built.sign(key, hashes.SHA256())
    path = tmp_path / "real.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(path)
    return found


@contextlib.contextmanager
def asked(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    """A probe of a server in a thread, which answers once, after as many session tickets as the context says."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)

    def serve() -> None:
        with contextlib.suppress(OSError), context.wrap_socket(theirs, server_side=True) as wrapped:
            wrapped.recv(4096)
            wrapped.sendall(ANSWER)
            wrapped.recv(1)

    monkeypatch.setattr(web, "open_socket", lambda *_arguments: ours)
    server = threading.Thread(target=serve)
    server.start()
    talk = web.HttpPlan(Probe("https", path="/"))(Target("10.0.0.1", "198.51.100.1", 443, Probe("https")), Reach())
    try:
        yield talk
    finally:
        talk.close()
        server.join()


def ended(talk: Talk) -> Finding | None:
    for _turn in range(10_000):
        found = talk.ready(select.EPOLLOUT)
        if found:
            return found
        if not select.select([talk.socket], [], [], 5)[0]:
            return None
    return None


def test_an_answer(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with asked(context, monkeypatch) as talk:
        found = ended(talk)
        assert found is not None
        assert found._replace(expires=0.0) == FOUND
        assert found.expires > 0


def test_records_without_end(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    context.num_tickets = 20_000
    with asked(context, monkeypatch) as talk:
        found = ended(talk)
        assert found is not None
        assert found[:2] == ("down", "TLS: records without end")
