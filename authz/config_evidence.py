"""The settings of what evidence may hold, as `config.py` has all others: unit, default, consequence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import re2
from pydantic import AfterValidator, Field

from authz.config_section import Section

MAX_RULES: Final = 64  # of each kind
_MAX_MEMORY: Final = 1 << 20  # bytes that a compiled pattern may take
_NAME: Final = re.compile(r"[^\x00-\x1f]{1,128}")
_HEADER: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*){1,32}")


def compiled(pattern: str) -> re2._Regexp:
    """`pattern` of RE2, whose time is linear in what it reads. Raises ValueError for what RE2 does not have
    (lookaround, back-references), and for what matches an empty text.
    """
    try:
        made = _made(pattern, 1)
    except re2.error as error:
        raise ValueError(f"not an RE2 pattern: {_said(error)}") from None
    if made.search("") is not None:
        raise ValueError("the pattern matches an empty text, so it would match everywhere")
    return made


def any_of(patterns: Sequence[str]) -> re2._Regexp:
    """What matches where one of `patterns`, each of which can be compiled, does."""
    return _made("|".join(f"(?:{pattern})" for pattern in patterns), len(patterns))


def _made(pattern: str, share: int) -> re2._Regexp:
    options = re2.Options()
    options.max_mem, options.log_errors = share * _MAX_MEMORY, False
    return re2.compile(pattern, options)


def _said(error: Exception) -> str:
    """RE2 says it in bytes."""
    said = error.args[0]
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _matching(pattern: str) -> str:
    compiled(pattern)
    return pattern


def _fits(form: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"not {what}")
        return text

    return AfterValidator(check)


Member = Annotated[str, _fits(_NAME, "a member's name")]
Header = Annotated[str, _fits(_HEADER, "a header's name in lower case")]
Pointer = Annotated[str, _fits(_POINTER, "a JSON pointer (RFC 6901) of at most 32 parts")]
Pattern = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_matching)]


class Redaction(Section):
    """What is masked before anything is hashed or kept, beside what is built in."""

    members: tuple[Member, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Names of members whose values are masked wherever they stand in parameters or facts; "
        "case, `-` and `_` do not count. Beside password, token, secret and their like.",
    )
    headers: tuple[Header, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Headers (lower case) whose values are masked in facts. Beside those of credentials.",
    )
    pointers: tuple[Pointer, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description='JSON pointers (RFC 6901) into the parameters, `{"body", "query"}` or an MCP call\'s '
        "arguments; a part `*` stands for any member or place: `/body/patients/*/name`.",
    )
    patterns: tuple[Pattern, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="RE2 patterns; what they match in names, texts and numbers of parameters and facts, and "
        "in paths, is masked. Each costs about 2 us for every text of a request.",
    )


class Disclosures(Section):
    """What explains a decision and can be erased: kept encrypted beside the ledger, its salted digests in the
    record. All off: nothing is kept, and the hot path does nothing for it.
    """

    facts: bool = Field(
        default=False,
        description="Keep what policy was asked, redacted: needed to replay the decision.",
    )
    snapshots: bool = Field(
        default=False,
        description="Keep redacted parameters, and what of the facts comes from a payload, where the "
        "policy's obligation `capture: redacted` permits it.",
    )
    client_address: bool = Field(default=False, description="Keep the address that Envoy saw.")
    claims: tuple[Member, ...] = Field(
        default=(), max_length=16, description="Claims of the agent's token that are kept, such as `email`."
    )
    max_bytes: int = Field(
        default=65536, ge=256, le=1 << 20, description="A disclosure that is longer is not kept, bytes."
    )
    key: Path = Field(
        default=Path("keys/disclosures.key"),
        description="32 bytes as hex, mode 0600, made when missing; it wraps the keys in `keys`. Without it "
        "no disclosure can be read.",
    )
    keys: Path = Field(
        default=Path("disclosure-keys"),
        description="One key for each segment of a ledger (relative to `state`). Leave it out of backups of "
        "the ledger: a key that is destroyed erases what every copy holds.",
    )

    @property
    def wanted(self) -> bool:
        """Whether anything is kept."""
        return self.facts or self.snapshots or self.client_address or bool(self.claims)
