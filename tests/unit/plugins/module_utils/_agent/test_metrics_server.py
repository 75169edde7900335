# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks for metrics and does not read them holds nothing up."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent import metrics
from ansible_collections.katran.fleet.plugins.module_utils._agent.families import Of
from ansible_collections.katran.fleet.plugins.module_utils._agent.view import InstanceView, View
from ansible_collections.katran.fleet.plugins.module_utils._engine.counters import Counted
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.metrics_settings import MetricsSettings

BODY = b"x" * (16 << 20)


class Served(metrics.Metrics):
    """Whose metrics are more than sockets hold; `writers`: of the connections that came."""

    writers: tuple[asyncio.StreamWriter, ...] = ()

    async def _text(self, accepted: str) -> tuple[bytes, str]:
        del accepted
        return BODY, "text/plain"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers = (*self.writers, writer)
        await super()._serve(reader, writer)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_READ_SECONDS", 0.2)


def test_an_answer_that_nobody_reads_is_not_kept(tmp_path: Path) -> None:
    async def talk() -> None:
        server = Served(metrics.Collector(dict, str))
        path = str(tmp_path / "metrics.sock")
        await server.start(MetricsSettings(()), path)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as link:
            link.setblocking(False)
            await loop.sock_connect(link, path)
            await loop.sock_sendall(link, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.5)
            assert [each.transport.get_write_buffer_size() for each in server.writers] == [0]
            await asyncio.wait_for(server.stop(), 2.0)

    asyncio.run(talk())


def test_an_answer_that_is_read_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_READ_SECONDS", 30.0)

    async def talk() -> bytes:
        server = Served(metrics.Collector(dict, str))
        path = str(tmp_path / "metrics.sock")
        await server.start(MetricsSettings(()), path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        found = await reader.read()
        writer.close()
        await server.stop()
        return found

    assert asyncio.run(talk()).endswith(BODY)


def test_connections_that_say_nothing_leave_the_unix_socket_free(tmp_path: Path) -> None:
    async def talk() -> bytes:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = free.getsockname()
        server = Served(metrics.Collector(dict, str))
        path = str(tmp_path / "metrics.sock")
        await server.start(MetricsSettings((place,)), path)
        silent = [(await asyncio.open_connection(*place))[1] for _each in range(20)]
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        found = await reader.read(12)
        for each in (writer, *silent):
            each.transport.abort()
        await server.stop()
        return found

    assert asyncio.run(talk()) == b"HTTP/1.1 200"


@pytest.mark.parametrize("error", [StateError("state.json is damaged"), KeyError("default"), OSError(5, "EIO")])
def test_counters_that_cannot_be_read_leave_the_rest(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> str:
        raise error

    seen: list[list[Of]] = []
    monkeypatch.setattr(metrics, "families", lambda _view, every, _each_real: seen.append(every) or ())
    of = View(0.0, "1", {"default": InstanceView("default")})
    assert list(metrics.Collector(lambda: of, refuse).collect()) == []
    assert [each.counted for each in seen[0]] == [Counted()]
