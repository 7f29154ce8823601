"""The body as arguments: JSON or a form, read in exactly one way, or `Denied` with `malformed_body`.

In: the bytes, the content headers, limits. Out: the parsed value, or MISSING for other types. Called by
`wire/extauthz.py` for every request with a body. No detail quotes the body.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import unquote_plus

from authz import exact_json
from authz.errors import Denied
from authz.values import MISSING, Reason

JSON: Final = "json"
FORM: Final = "form"
OTHER: Final = ""
FOREIGN: Final = "foreign"  # another type, whose reader may take the bytes for other text than we do
# Some readers drop what is beyond a thousand fields in silence (PHP), others refuse it (Django).
MAX_FIELDS: Final = 1000
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORM_TEXT: Final = re.compile(r"[ -~]*")
# An object or an array from the start, in UTF-8 or wider, perhaps behind a BOM.
_LIKE_JSON: Final = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\x00 \t\r\n]*[{\[]")
_UTF8_NAMES: Final = frozenset(("utf-8", "utf8", "us-ascii", "ascii"))  # ASCII is a part of it


def media(content_type: str) -> str:
    """JSON, FORM, OTHER or FOREIGN. Media types are case-insensitive; for JSON and forms parameters may not
    change the encoding.
    """
    if "," in content_type:  # two headers folded into one: some readers take the first, others the last
        raise Denied(Reason.MALFORMED_HEADERS, "content-type: several")
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        found = JSON
    elif kind == "application/x-www-form-urlencoded":
        found = FORM
    else:
        found = OTHER
    if parameters and not _is_utf8(parameters.lower()):
        if found != OTHER:
            raise Denied(Reason.MALFORMED_BODY, "content-type: a charset other than UTF-8")
        return FOREIGN
    return found


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        # Readers of RFC 2231 also know `charset*` and `charset*0`.
        if name.strip().startswith("charset") and value.strip().strip('"') not in _UTF8_NAMES:
            return False
    return True


def check_coding(content_encoding: str) -> None:
    """A body that is to be read as JSON or as a form is not encoded: who decodes it reads something else."""
    if content_encoding.strip().lower() not in ("", "identity"):
        raise Denied(Reason.MALFORMED_BODY, "content-encoding: a JSON or form body that is encoded")


def arguments(body: bytes, kind: str, depth: int) -> Any:
    """The body's value, or MISSING for what is neither JSON nor a form."""
    if kind == JSON:
        return parse_json(body, depth)
    if kind == FORM:
        return parse_form(body)
    if not _LIKE_JSON.match(body):
        return MISSING
    if kind == FOREIGN:
        raise Denied(Reason.MALFORMED_BODY, "body: like JSON, under a charset other than UTF-8")
    return _unlabelled(body, depth)


def _unlabelled(body: bytes, depth: int) -> Any:
    """The value of JSON under another type, which many readers take for what it is; else MISSING."""
    try:
        return exact_json.parse(body, depth)
    except exact_json.NotJson:
        if _is_json_to_somebody(body):
            raise Denied(Reason.MALFORMED_BODY, "body: JSON to some readers only") from None
        return MISSING
    except ValueError as error:
        raise Denied(Reason.MALFORMED_BODY, f"body: {error}") from None


def _is_json_to_somebody(body: bytes) -> bool:
    """Whether a lenient reader takes it: with NaN, a BOM, UTF-16, lone surrogates, however deep or large."""
    try:
        json.loads(body, parse_int=float)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def parse_json(body: bytes, depth: int) -> Any:
    """The one value that every reader of `body` sees, nested at most `depth` deep."""
    try:
        return exact_json.parse(body, depth)
    except ValueError as error:
        raise Denied(Reason.MALFORMED_BODY, f"body: {error}") from None


def parse_form(body: bytes) -> dict[str, list[str]]:
    """Every name with the list of its values, in order."""
    if _LIKE_JSON.match(body) and _is_json_to_somebody(body):
        raise Denied(Reason.MALFORMED_BODY, "form: JSON to readers that do not look at the type")
    text = body.decode("latin-1")
    if not _FORM_TEXT.fullmatch(text):
        raise Denied(Reason.MALFORMED_BODY, "form: a control byte, or not ASCII")
    if ";" in text:
        raise Denied(Reason.MALFORMED_BODY, "form: a semicolon separates for some readers only")
    if _BROKEN_ESCAPE.search(text):
        raise Denied(Reason.MALFORMED_BODY, "form: broken escape")
    if text.count("&") >= MAX_FIELDS:
        raise Denied(Reason.MALFORMED_BODY, "form: too many fields")
    found: dict[str, list[str]] = {}
    try:
        for pair in text.split("&"):
            if pair:
                name, _, value = pair.partition("=")
                name = unquote_plus(name, errors="strict")
                found.setdefault(name, []).append(unquote_plus(value, errors="strict"))
    except UnicodeDecodeError:
        raise Denied(Reason.MALFORMED_BODY, "form: escapes that are not UTF-8") from None
    return found
