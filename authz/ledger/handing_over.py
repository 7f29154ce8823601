"""Hands over from a writer's record key to the newer one that a rotation has put into its place.

    each second: another key in the files? -> `key` entry, by the old key -> from the next on the new one

In: the chain, where newer keys come from, how an entry is appended. Called by the writer's pulse. If the
entry cannot be written, the chain goes back to the old key, and it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from authz.errors import EvidenceUnavailable
from authz.ledger.chain import Chain
from authz.ledger.signer import Signer

log = structlog.get_logger(__name__)


class HandingOver:
    """`newer()` is the record key to hand over to, or None; `append(kind, members)` syncs an entry."""

    def __init__(
        self,
        chain: Chain,
        newer: Callable[[], Signer | None],
        append: Callable[[str, dict[str, Any]], asyncio.Future[Any]],
    ) -> None:
        self._chain, self._newer, self._append = chain, newer, append
        self._heir: Signer | None = None

    def look(self) -> None:
        """Hand over if there is a newer key."""
        heir = self._heir = self._newer() or self._heir
        if heir is None:
            return
        if heir.kid == self._chain.signer.kid:
            self._heir = None
            return
        try:
            said = self._append("key", self._chain.last_words(heir))
        except EvidenceUnavailable:
            return
        self._chain.turn_to(heir)
        said.add_done_callback(lambda done: done.exception())  # asked for, so that nobody warns of it
        log.info("record_key_follows", log=self._chain.log, kid=heir.kid)
