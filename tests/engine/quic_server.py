# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of QUIC on one real, each of another layout of connection ids; a script that tests start.

usage: quic_server.py DOCUMENT FOLDER VIP NUMBER, with a certificate in the folder. The real of this number names itself
to whoever opens a stream. How it writes connection ids is what DOCUMENT tells operators to write. It says `ready`, and
ends with its standard input.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from pathlib import Path
from typing import Any

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration
from quic_layouts import ALPN, CID_BYTES, PORTS, own_id, server_id


def operators_code(document: str) -> dict[str, Any]:
    """What the document's first block of Python defines, run as it stands there."""
    found = re.search(r"^```python\n(.*?)^```$", Path(document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    code: dict[str, Any] = {}
    exec(compile(found[1], document, "exec"), code)  # noqa: S102  # a document of this repository
    return code


def makers(code: dict[str, Any], number: int) -> dict[str, Any]:
    """Layout → what makes its connection ids."""
    katran, quic_lb = code["katran_cid"], code["quic_lb_cid"]
    known, own = server_id(number), own_id(number)

    def rotating() -> Any:
        return quic_lb(0, known.to_bytes(2, "big"), 9) if random.getrandbits(1) else quic_lb(3, own, 6)

    return {
        "katran1": lambda: katran(1, known),
        "katran2": lambda: katran(2, known),
        "katran3": lambda: katran(3, known),
        "quic_lb": lambda: quic_lb(0, known.to_bytes(2, "big"), 9),
        "rotation": rotating,
        # Layout 0 of Katran: no id.
        "none": lambda: bytes((random.getrandbits(6),)) + random.randbytes(CID_BYTES - 1),
    }


async def main(document: str, folder: str, vip: str, number: str) -> None:
    code = operators_code(document)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(number.encode() + b" " + asked)
        writer.write_eof()

    def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.create_task(answer(reader, writer)))
        task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Task[None]] = set()
    for layout, make_cid in makers(code, int(number)).items():
        options = {"is_client": False, "alpn_protocols": [ALPN], "idle_timeout": 600.0}
        configuration: Any = QuicConfiguration(connection_id_length=CID_BYTES, **options)
        configuration.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
        configuration.make_cid = make_cid
        await serve(vip, PORTS[layout], configuration=configuration, stream_handler=heard)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
