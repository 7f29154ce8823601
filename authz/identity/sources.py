"""Where requests come from, as a tag: equal addresses have equal tags, and a tag tells no address.

In: a client's address and the deployment's source key. Out: 16 hex digits for the record. Called by
`pipeline.py`. An address is a person's datum and guessable, so that neither it nor its plain hash may stand
in an entry that can never be changed (EVIDENCE section 5); whoever destroys the key erases them all.

    tag = lowercase hex of BLAKE2b-64 (RFC 7693) over the address, keyed with `identity.source_key`
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

MOST: Final = 4096  # addresses whose tags are kept


class SourceTags:
    """`tag(address)`, "" for an unknown one."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 secret bytes, the same for all workers of a deployment."""
        self._key = key
        self.tag = lru_cache(MOST)(self._tag)

    def _tag(self, address: str) -> str:
        if not address:
            return ""
        return hashlib.blake2b(address.encode(), key=self._key, digest_size=8).hexdigest()
