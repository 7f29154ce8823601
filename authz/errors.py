"""Few families of errors, named for the caller's situation.

`Denied` is the only one the request path translates (in `pipeline.py`, to a recorded denial);
`EvidenceUnavailable` becomes a refusal, since without a ledger there is no Receipt. The others stop a
command or a start with a sentence that names what and where. None of them ever carries a secret.
"""

from __future__ import annotations

from authz.values import Reason


class AegisError(Exception):
    """Root of the project's own errors: the text is meant for the person who runs the program."""


class Denied(AegisError):
    """This request is denied, and why. `detail` goes into the record, never to the agent by default."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class EvidenceUnavailable(AegisError):
    """The record cannot be written: nothing may be allowed until the ledger is whole again."""


class ConfigError(AegisError):
    """A setting is wrong: the text names file, line and field."""


class KeyUnusable(AegisError):
    """A key file is missing, malformed, or readable by others."""


class LedgerLocked(AegisError):
    """Another process holds this ledger: a log has exactly one writer."""


class IntegrityViolation(AegisError):
    """Stored evidence is not what was signed. Never repaired silently.

    `file`, `line` (1-based) and `seq` locate the first fault where they are known.
    """

    def __init__(self, what: str, *, file: str = "", line: int = 0, seq: int = -1) -> None:
        where = ", ".join(
            part for part in (file, f"line {line}" if line else "", f"seq {seq}" if seq >= 0 else "") if part
        )
        super().__init__(f"{where}: {what}" if where else what)
        self.what, self.file, self.line, self.seq = what, file, line, seq


class CursorUnusable(AegisError):
    """Where an exporter had got to does not fit the ledger: the text says why and how to start again."""


class PolicyRejected(AegisError):
    """A policy cannot be made into a version: the text names the file and the rule it breaks."""


class StoreUnavailable(AegisError):
    """The store of policy versions did not do its work: the text names the object and why."""
