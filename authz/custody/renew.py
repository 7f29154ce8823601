"""Gives a record key way to a new one that the root certifies: a process of its own, which the follower kills
if it takes too long.

    python -m authz.custody.renew KEY_FILE      settings as JSON on standard input

Exit status 0: it is in use. 2: why not stands on standard error, one line, and nothing has changed or the
next run goes on from there.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from authz.config import Settings
from authz.custody import rotation
from authz.custody.rotation import Certify, Change
from authz.errors import AegisError
from authz.ledger.clock import Stamp
from authz.ledger.keyring import Keyring
from authz.ledger.outbox import Outbox

WHO: Final = "aegis follow"


def certifier(settings: Settings) -> Certify | None:
    """What certifies record keys under these settings, None if nothing does."""
    if settings.root.module is None:
        return None
    from authz.custody import token  # here, so that nothing else loads PKCS#11

    return lambda public: token.certify(settings, public, datetime.now(UTC))


def renew(settings: Settings, file: Path) -> None:
    """Raises AegisError."""
    with Outbox(settings.outbox) as outbox:
        change = Change(WHO, Stamp(time.time_ns).now(), "its certificate would end", outbox.put)
        rotation.rotate(Keyring(file), "record", change, certify=certifier(settings))


def main() -> int:
    settings = Settings.model_validate_json(sys.stdin.buffer.read())
    try:
        renew(settings, Path(sys.argv[1]))
    except AegisError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
