"""What an engine is: whatever answers a question by one entry point of the active policy version.

In: a question (`facts.py`). Out: an Answer, or Denied. Implemented by `engine_opa.py`, which asks a sidecar,
and `engine_wasm.py`, which evaluates in the worker; called by `stage.py`, which knows neither.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from msgspec import Struct

BUNDLES: Final = "/v1/data/system/bundles"
STATUS: Final = "/v1/status"
MAX_ANSWER: Final = 1 << 20


class Answer(Struct, frozen=True):
    """`result`: what policy said, MISSING if undefined. `revisions`: of every active bundle by its name."""

    result: Any
    revisions: dict[str, str]


class Engine(Protocol):
    """`name` is what records call it; `entry_point` a path below `data`, `aegis/decision`."""

    name: str
    entry_point: str

    async def start(self) -> None:
        """Get ready to answer, as far as that is possible now."""

    async def decide(self, question: bytes, timeout_s: float) -> Answer:
        """Ask the entry point about `question`, the JSON of the input document. Raises Denied."""

    async def get(self, path: str, timeout_s: float) -> Any:
        """What OPA's API says at BUNDLES or STATUS. Raises Denied when nobody can say."""

    async def close(self) -> None:
        """Let go of everything."""
