"""Structured logs on stderr, one JSON object a line. Events carry ids and codes: no header, body or token.

An exception is logged by type and place only: its text may quote what an agent sent.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

_FRAMES: Final = 12  # innermost ones kept


def configure(level: str) -> None:
    """Set up structlog for this process; `level` is a name such as "info"."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            where,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def where(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the exception's type and the places it came through, innermost last."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        event["exception"] = type(error).__name__
        event["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event
