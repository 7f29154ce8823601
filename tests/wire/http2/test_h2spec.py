"""Our HTTP/2 against h2spec, which knows what RFC 9113 and RFC 7541 demand of a server, and nothing of us."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.wire.http2.plain import Plain, listening

H2SPEC = Path(sys.executable).with_name("h2spec")
CASES = 145


async def test_every_case_of_h2spec_passes(tmp_path: Path) -> None:
    assert H2SPEC.exists(), "`make install-dev` builds it"
    found = tmp_path / "found.xml"
    async with listening(Plain()) as port:
        process = await asyncio.create_subprocess_exec(
            *(str(H2SPEC), "-h", "127.0.0.1", "-p", str(port), "-o", "5", "-j", str(found)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-4000:]
    cases = ElementTree.parse(found).iter("testcase")
    assert len([case for case in cases if case.find("skipped") is None]) == CASES
