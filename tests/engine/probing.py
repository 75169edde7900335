# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer that probes, and a real behind its tunnel: what tests of probes share."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.katran.fleet.plugins.module_utils._agent.pending import Aim
from ansible_collections.katran.fleet.plugins.module_utils._agent.prober import Prober
from ansible_collections.katran.fleet.plugins.module_utils._engine.healthcheck import Healthcheck
from ansible_collections.katran.fleet.plugins.module_utils._engine.probe_destinations import keep_probe_destinations
from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Probe, Target
from ansible_collections.katran.fleet.plugins.module_utils._model.health import Answer
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import (
    HEALTHCHECK,
    parse_healthcheck,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_path import Way, reach_of
from ansible_collections.katran.fleet.tests.engine import services
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPF,
    BPFFS,
    compiled_once,
    request,
    run,
    sandbox,
)

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
MARKS = {services.REALS[0]: 0x4B000001, services.REALS[1]: 0x4B000002}
HOST = "www.example.net"


def _certificate(
    name: str, days: int, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[bytes, x509.Name, ec.EllipticCurvePrivateKey]:
    """PEM of a certificate and its key, that ends in so many days; of an authority, where there is no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing = issuer or (subject, key)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signing, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM) + secret, subject, key


def write_certificates(folder: Path) -> None:
    """An authority, and two servers' certificates by it: one good for ten days, one that ended ten days ago."""
    authority, name, key = _certificate("authority", 100, None)
    (folder / "authority.pem").write_bytes(authority.partition(b"-----BEGIN PRIVATE")[0])
    (folder / "good.pem").write_bytes(_certificate(HOST, 10, (name, key))[0])
    (folder / "expired.pem").write_bytes(_certificate(HOST, -10, (name, key))[0])


@contextmanager
def balancer_and_real(mtu: int = 1500) -> Iterator[Path]:
    """This process is on a balancer whose program healthcheck tunnels to a real; the folder with certificates.

    `mtu`: of the link between them.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path, sandbox("out"), compiled_once():
        folder = Path(path)
        write_certificates(folder)
        real = subprocess.Popen(
            [sys.executable, services.__file__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        )
        assert real.stdin
        assert real.stdout
        try:
            assert real.stdout.readline() == "here\n"
            gateway = Path(f"/sys/class/net/{services.LINK}/address").read_text().strip()
            for end in ("out", services.LINK):
                run("ip", "link", "set", end, "mtu", str(mtu))
            run("ip", "link", "set", services.LINK, "netns", str(real.pid))
            run("ip", "link", "set", "lo", "up")
            run("ip", "addr", "add", f"{services.BALANCER[0]}/24", "dev", "out")
            run("ip", "addr", "add", f"{services.BALANCER[1]}/64", "dev", "out", "nodad")
            for hop in ("198.18.7.254", "fd00:7::fe"):
                run("ip", "route", "add", "default", "via", hop, "dev", "out")
                run("ip", "neigh", "add", hop, "lladdr", gateway, "dev", "out")
            real.stdin.write("\n")
            real.stdin.flush()
            attach()
            assert real.stdout.readline() == "ready\n"
            while {answer.state for answer in asked(*(target(services.HTTP, "tcp", vip) for vip in services.VIPS))} != {
                "active"
            }:
                # A link that was moved needs a moment for IPv6.
                pass
            yield folder
        finally:
            real.stdin.close()
            real.wait()
            real.stdout.close()


def attach(**options: Any) -> None:
    """Program healthcheck on the balancer, and its destinations."""
    defaults = {name: option.get("default") for name, option in HEALTHCHECK.items()}
    settings = {**defaults, "interface": "out", "source_dir": BPF, **options}
    Healthcheck("default", BPFFS).ensure(parse_healthcheck(settings), False, 5)
    keep_probe_destinations(request(), MARKS)


WAY = Way("out", True, MARKS, frozenset())


def asked(*targets: Target, way: Way = WAY) -> list[Answer]:
    """One answer of each, at once."""

    async def ask() -> list[Answer]:
        loop = asyncio.get_running_loop()
        answers: dict[Aim, Answer] = {}
        done = loop.create_future()

        def answered(aim: Aim, answer: Answer, started: float, now: float) -> float:
            answers.setdefault(aim, answer)
            if len(answers) == len(set(targets)) and not done.done():
                done.set_result(None)
            return started + 60

        prober = Prober(answered, lambda aim: reach_of(aim.target, way))
        prober.set_targets({Aim("default", target): 0.0 for target in targets})
        await asyncio.wait_for(done, 10)
        prober.stop()
        return [answers[Aim("default", target)] for target in targets]

    return asyncio.run(ask())


def target(port: int, kind: str = "http", vip: str = services.VIPS[0], real: str = "", **options: Any) -> Target:
    """A probe of the VIP at a real, by default the one of its family."""
    real = real or services.REALS[services.VIPS.index(vip)]
    return Target(real, vip, port, Probe(kind, **options))


def found(port: int, kind: str = "http", **options: Any) -> tuple[str, str]:
    """State and reason of one probe."""
    return asked(target(port, kind, **options))[0][:2]
