# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus beside a laboratory, wired to its balancers as docs/monitoring says: exporters, nginx, certificates."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fleetlab.plan import CONTROL, PROJECT, Lab, LabError
from fleetlab.runs import TOOL, on_host
from fleetlab.system import network

sys.path.insert(0, str(PROJECT / "scripts"))

from grafana.asked import Dashboard, Prometheus, legend

__all__ = ["Dashboard", "Prometheus", "legend"]

DOCS = PROJECT / "docs/monitoring"
PROMETHEUS = PROJECT / ".cache/promtool/usr/bin/prometheus"
EXPORTERS = PROJECT / ".cache/exporters/usr/bin"
TEXTFILES = "/var/lib/prometheus/node-exporter"
_PORT = 9090
_UNITS = {
    "lab-node-exporter": f"/run/prometheus-node-exporter --web.listen-address=127.0.0.1:9100"
    f" --collector.textfile.directory={TEXTFILES} --collector.disable-defaults --collector.cpu --collector.netdev"
    " --collector.textfile --collector.loadavg",
    "lab-bird-exporter": "/run/prometheus-bird-exporter -bird.v2 -web.listen-address=127.0.0.1:9324",
    "lab-metrics-nginx": "/usr/sbin/nginx -c /run/lab-metrics.conf -g 'daemon off;'",
}
_NGINX = b"events {}\npid /run/lab-metrics.pid;\nhttp { include /etc/nginx/conf.d/katran-metrics.conf; }\n"
_TLS = "etc/katran-metrics"


def prepare(lab: Lab, host: str, tls: Path) -> None:
    """Exporters and nginx on a balancer: nothing but nginx listens on an address that others reach."""
    files = {
        **{f"run/{name}": EXPORTERS / name for name in ("prometheus-node-exporter", "prometheus-bird-exporter")},
        f"{_TLS}/host.pem": tls / f"{host}.pem",
        f"{_TLS}/host.key": tls / f"{host}.key",
        f"{_TLS}/authority.pem": tls / "authority.pem",
        "etc/nginx/conf.d/katran-metrics.conf": DOCS / "nginx.conf",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in files.items():
            archive.add(path, name)
        main = tarfile.TarInfo("run/lab-metrics.conf")
        main.size = len(_NGINX)
        archive.addfile(main, io.BytesIO(_NGINX))
    starts = "; ".join(f"systemd-run --quiet --unit {unit} {command}" for unit, command in _UNITS.items())
    command = f"tar -C / -x --no-same-owner; mkdir -p {TEXTFILES}; {starts}"
    subprocess.run([TOOL, "--lab", lab.prefix, "shell", host, command], input=packed.getvalue(), check=True)


def take_off(lab: Lab, host: str) -> None:
    """Take all of that off again."""
    files = f"/{_TLS} /etc/nginx/conf.d/katran-metrics.conf /run/lab-metrics.* /run/prometheus-*-exporter {TEXTFILES}"
    on_host(lab, host, f"systemctl stop {' '.join(_UNITS)} || true; rm -rf {files}")


def pulled(lab: Lab, host: str) -> None:
    """Leave on a host what katran-pull leaves there after a run that got through, written by its own code."""
    source = (PROJECT / "roles/pull/files/katran-pull").read_text(encoding="utf-8")
    settings = {"state_folder": "/run", "metrics": f"{TEXTFILES}/katran_pull.prom"}
    code = (
        f"import time\nhere = {{'__name__': 'katran_pull'}}\nexec({source!r}, here)\n"
        f"here['note']({settings!r}, False, time.time() - 12, 'f' * 40)\n"
    )
    done = subprocess.run(
        [TOOL, "--lab", lab.prefix, "shell", host, f"mkdir -p {TEXTFILES}; python3 -"],
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"katran-pull on {host}: {done.stderr[-1000:]}")


@contextlib.contextmanager
def watched(lab: Lab, folder: Path, *hosts: str) -> Iterator[Prometheus]:
    """A Prometheus in the control namespace that scrapes these balancers. `folder`: for its files, empty."""
    tls = folder / "tls"
    subprocess.run([DOCS / "certificates", tls, *hosts], check=True, capture_output=True)
    for name in ("prometheus.yml", "rules.yml"):
        shutil.copy(DOCS / name, folder)
    targets = ", ".join(f"{host}:9443" for host in hosts)
    (folder / "balancers.yml").write_text(f"- targets: [{targets}]\n", encoding="ascii")
    # Names, as an inventory has them: certificates are made out to them.
    lines = [f"{lab.host(host).management} {host}" for host in hosts]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]), encoding="ascii")
    inside = 'mount --bind "$0" /etc/hosts && exec "$@"'
    with contextlib.ExitStack() as stack:
        at_once = stack.enter_context(ThreadPoolExecutor(len(hosts)))
        stack.callback(lambda: list(at_once.map(lambda host: take_off(lab, host), hosts)))
        list(at_once.map(lambda host: prepare(lab, host, tls), hosts))
        command = [
            *("nsenter", f"--net={lab.namespace_path(CONTROL)}", "unshare", "--mount"),
            *("sh", "-c", inside, str(folder / "hosts"), str(PROMETHEUS)),
            *(f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address=127.0.0.1:{_PORT}",
        ]
        log = stack.enter_context((folder / "log").open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        stack.callback(process.terminate)
        found = Prometheus(f"http://127.0.0.1:{_PORT}", lambda: network(lab.namespace_path(CONTROL)))

        def there() -> bool:
            if process.poll() is not None:
                raise LabError(f"Prometheus: {(folder / 'log').read_text(encoding='utf-8')[-2000:]}")
            with contextlib.suppress(OSError):
                return [value for _labels, value in found.now("count(up == 1)")] == [3 * len(hosts)]
            return False

        wait(there, lambda: str([] if process.poll() else found.get("targets")))
        yield found


def wait(what: Callable[[], bool], why: Callable[[], str], seconds: float = 60.0) -> None:
    """Wait until something is so; LabError, with what `why` says, where it does not come to that."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise LabError(f"it did not come to that in {seconds:.0f} s: {why()}")
        time.sleep(0.25)


VIP, UNSERVED = "198.18.200.1", "198.18.200.9"
VARIABLES: dict[str, Any] = {
    "katran_metrics_real": True,
    "katran_sync": True,
    "katran_sync_key": "5a0c6f0e9b1d4f7783a2c4e6f8091b2d3c4e5f60718293a4b5c6d7e8f9012345",
    "katran_vips__watched": [
        # A VIP whose lists keep the client out.
        {
            "address": VIP,
            "port": 8080,
            "protocol": "tcp",
            "deny": ["198.18.1.0/24"],
            "reals": "{{ groups['web'] | katran.fleet.reals(family='ipv4') }}",
            "check": {"type": "http", "port": 80},
        },
        # One of whose reals one alone has a certificate and a service: its floor holds another one in.
        {
            "address": VIP,
            "port": 443,
            "protocol": "tcp",
            "reals": "{{ groups['web'] | katran.fleet.reals(family='ipv4') }}",
            "check": {"type": "tls"},
        },
        # One that no real serves: its address is withdrawn, and what comes all the same is dropped.
        {
            "address": UNSERVED,
            "port": 443,
            "protocol": "tcp",
            "reals": "{{ groups['web'] | katran.fleet.reals(family='ipv4') }}",
            "check": {"type": "tls", "min_healthy": 0},
            "announce": {"last_resort": "withdraw"},
        },
    ],
}
"""What makes a fleet have every series that there may be, and what plants faults."""


def variables(lab: Lab) -> dict[str, Any]:
    """VARIABLES, with the addresses that balancers tell each other of flows by."""
    addresses = {host.name: host.ipv4 for host in lab.with_role("balancer")}
    return {**VARIABLES, "katran_sync_address": f"{{{{ {addresses!r}.get(inventory_hostname, '') }}}}"}


@contextlib.contextmanager
def tls_service(lab: Lab, host: str) -> Iterator[None]:
    """A service of TLS on port 443 of a real, with a certificate for ten days."""
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj /CN=laboratory"
    serve = "openssl s_server -quiet -accept 443 -cert /run/lab-tls.pem -key /run/lab-tls.key"
    on_host(
        lab, host, f"{make} -keyout /run/lab-tls.key -out /run/lab-tls.pem; systemd-run --quiet --unit lab-tls {serve}"
    )
    try:
        yield
    finally:
        on_host(lab, host, "systemctl stop lab-tls; rm /run/lab-tls.*")
