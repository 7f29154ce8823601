"""One request on a connection and what has to be sent for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from authz.wire.http2.heads import Head


class Stream:
    """One request and its answer. `cancel` is called if the caller leaves before it has the answer."""

    __slots__ = (
        "arrived",
        "body",
        "cancel",
        "ends",
        "head",
        "number",
        "pending",
        "received",
        "whole",
        "window",
    )

    def __init__(self, number: int, head: Head, window: int) -> None:
        self.number, self.head = number, head
        self.arrived = time.monotonic() if head.timeout_s is not None else 0.0  # its head: the time runs
        self.body: bytes | bytearray = b""
        self.received = 0  # bytes of DATA, with padding, while it is not whole
        self.window = window  # what we may still send
        self.whole = False  # the peer has sent all
        self.pending: deque[tuple[bytes, bool]] = deque()  # what waits to be sent; whether windows count it
        self.ends = False  # nothing comes after that
        self.cancel: Callable[[], Any] | None = None
