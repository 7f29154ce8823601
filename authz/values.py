"""The values of one decision, in the order they are born.

    CheckRequest -> Request -> Subject -> Facts -> Verdict -> Ruling -> Record -> Receipt -> CheckResponse

Every stage takes the value the one before it made and returns a new frozen one. This module may import
nothing of the project: every stage depends on it and it depends on none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec import Struct


class Decision(StrEnum):
    """What is recorded. `allow` and `would_block` let a request through (see `Ruling.allowed`)."""

    ALLOW = "allow"
    DENY = "deny"
    WOULD_BLOCK = "would_block"
    SANITIZE = "sanitize"
    APPROVAL_NEEDED = "approval_needed"


# Recorded decisions whose request went on: `would_block` is what policy denied while it was in shadow.
FORWARDED: Final = frozenset((Decision.ALLOW, Decision.WOULD_BLOCK))
ENFORCE: Final = "enforce"
SHADOW: Final = "shadow"


class ShadowScope(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is in shadow: every denial of policy, those of some agents, those by some rules."""

    all: bool = False
    agents: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


class Reason(StrEnum):
    """Every reason code that the authorizer itself gives; policies bring their own.

    `rego/aegis/reasons.json` lists these and the default library's; a test holds the two together.
    """

    # The request could not be read in exactly one way (HTTP 400, too large 413).
    MALFORMED_REQUEST = "malformed_request"
    MALFORMED_HEADERS = "malformed_headers"
    MALFORMED_HOST = "malformed_host"
    MALFORMED_PATH = "malformed_path"
    MALFORMED_QUERY = "malformed_query"
    MALFORMED_BODY = "malformed_body"
    BODY_TOO_LARGE = "body_too_large"
    # It is no MCP message that every reader reads alike (HTTP 400 where the route requires MCP).
    MALFORMED_MCP_MESSAGE = "malformed_mcp_message"
    MALFORMED_MCP_BATCH = "malformed_mcp_batch"
    MALFORMED_MCP_CONTENT_TYPE = "malformed_mcp_content_type"
    MALFORMED_MCP_MEMBER = "malformed_mcp_member"
    MALFORMED_MCP_JSONRPC = "malformed_mcp_jsonrpc"
    MALFORMED_MCP_ID = "malformed_mcp_id"
    MALFORMED_MCP_PARAMS = "malformed_mcp_params"
    MALFORMED_MCP_VERSION = "malformed_mcp_version"
    MALFORMED_MCP_HEADERS = "malformed_mcp_headers"
    MALFORMED_MCP_SESSION = "malformed_mcp_session"
    MALFORMED_MCP_METADATA = "malformed_mcp_metadata"
    # Who asks is not established (HTTP 401).
    IDENTITY_MISSING = "identity_missing"
    IDENTITY_INVALID = "identity_invalid"
    IDENTITY_EXPIRED = "identity_expired"
    IDENTITY_AMBIGUOUS = "identity_ambiguous"
    IDENTITY_ASSURANCE = "identity_assurance"
    IDENTITY_KEYS_STALE = "identity_keys_stale"  # we do not know any more who is trusted (HTTP 503)
    # Policy gave no usable answer (HTTP 403) or could not be asked (HTTP 503).
    POLICY_ERROR = "policy_error"
    POLICY_CHANGING = "policy_changing"
    POLICY_STALE = "policy_stale"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_TIMEOUT = "engine_timeout"
    ENGINE_FUEL = "engine_fuel"
    ENGINE_MEMORY = "engine_memory"
    ENGINE_TRAP = "engine_trap"
    # A control that policy demands is not available here (HTTP 503).
    CONTROL_UNAVAILABLE = "control_unavailable"
    TUNNEL_NOT_PERMITTED = "tunnel_not_permitted"
    # No record could be made, or none was attempted (HTTP 503): these leave without a Receipt.
    EVIDENCE_UNAVAILABLE = "evidence_unavailable"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"
    # Envoy stopped waiting before there was a decision (HTTP 503, which nobody hears): recorded all the same.
    CALLER_GONE = "caller_gone"

    @property
    def http_status(self) -> int:
        """HTTP status code the agent sees for this reason (DESIGN section 6)."""
        return _HTTP_STATUS[self]


_HTTP_STATUS: Final[dict[Reason, int]] = {
    reason: 400 if reason.startswith("malformed_") else 401 if reason.startswith("identity_") else 503
    for reason in Reason
} | {
    Reason.BODY_TOO_LARGE: 413,
    Reason.IDENTITY_KEYS_STALE: 503,
    Reason.POLICY_ERROR: 403,
    Reason.TUNNEL_NOT_PERMITTED: 403,
}


class Assurance(StrEnum):
    """How strongly the subject is known, strongest first. `none` where anyone may call us directly."""

    MTLS = "mtls"
    JWT = "jwt"
    HEADER = "header"
    NONE = "none"

    def at_least(self, other: Assurance) -> bool:
        order = list(Assurance)
        return order.index(self) <= order.index(other)


class Missing:
    """The type of MISSING: a member that the request does not have (JSON has no such value)."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Attributes(Protocol):
    """The request in opa-envoy-plugin's form (COMPAT facts 14 to 18), read on demand."""

    def at(self, path: tuple[str, ...]) -> Any:
        """The JSON value at `path` below `attributes` (`()` is all of it), or MISSING."""
        ...


# What a caller may say about itself, by the names that policies and records use.
CLAIMS: Final = tuple(
    "action_id step_id parent_decision_id correlation_id model model_version decoding "
    "prompt_template_version prompt_hash corpus_version retrieval_filter retrieval_time branch "
    "tool_version".split()
)


class Claims(Struct, frozen=True):
    """What the caller says about itself (`protocols/claims.py`): recorded as claimed, never verified.

    `values` by name, in the order of names; `malformed` are names of claims whose text was dropped.
    """

    values: dict[str, str]
    malformed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the claims that were made and have their form."""
        return tuple(self.values)


NO_CLAIMS: Final = Claims({})


class Mcp(Struct, frozen=True):
    """An MCP message (`protocols/mcp.py`), or with `fault` why it is none; then only `rpc_id` may be set.

    `arguments` are those of `tools/call`, the params of other methods, MISSING where there is no method.
    """

    message: str  # request | notification | response | error | stream (GET) | end (DELETE) | ""
    method: str = ""
    name: str = ""  # of the tool or prompt, or the resource's URI, as the agent sends it
    arguments: Any = MISSING
    version: str = ""  # protocol revision, "" while none is agreed upon
    rpc_id: int | str | None = None  # of a request: what its answer must carry
    meta: dict[str, Any] = {}  # `_meta` of the params: the agent's own words
    fault: Reason | None = None


class Action(Struct, frozen=True):
    """What the agent wants done, as its protocol says it.

    `tool` comes from the route (`context_extensions["aegis.tool"]`) and never from the agent;
    `arguments` is the parsed body (JSON or form), of kind `mcp` the message's own, or MISSING; `resource` is
    the normalised path.
    """

    kind: str  # http | tunnel | mcp
    tool: str
    method: str
    resource: str
    arguments: Any = MISSING


class PluginInput(Struct, frozen=True):
    """The input document as opa-envoy-plugin has it, for an entry point with `policy.compat`.

    `lossy`: a byte that is no UTF-8 stands in it as U+FFFD.
    """

    document: dict[str, Any]
    lossy: bool = False


class Request(Struct, frozen=True):
    """One normalised attempt. Header names are lower-case; `path` is without the query."""

    request_id: str
    method: str
    scheme: str
    host: str  # lower-case, no trailing dot
    port: int  # always set: the scheme's default where the request names none
    path: str
    query: str  # raw, without "?"
    headers: dict[str, str]
    body: bytes
    truncated_body: bool
    sni: str
    principal: str  # what the transport calls the downstream (SPIFFE URI), "" when unknown
    source_address: str
    context: dict[str, str]  # Envoy's context_extensions for the route
    action: Action
    attributes: Attributes
    trace_id: str  # 32 lowercase hex digits: the agent's trace, or a new one
    parent_span_id: str  # 16 hex digits of Envoy's ext_authz span, "" when there is none
    sampled: bool  # the trace flag of the caller's context
    claims: Claims = NO_CLAIMS
    mcp: Mcp | None = None
    plugin: PluginInput | None = None


class Malformed(Struct, frozen=True):
    """An attempt that cannot be read in exactly one way; decided (denied) and recorded like any other.

    `detail` names what and where, without any payload byte. The rest is what could be read.
    """

    reason: Reason
    detail: str
    request_id: str = ""
    method: str = ""
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    source_address: str = ""
    trace_id: str = ""
    parent_span_id: str = ""
    sampled: bool = False
    mcp: Mcp | None = None  # set where the caller is an MCP client, so that it is answered as one


class Subject(Struct, frozen=True):
    """Who asks, and by what that is known. `chain` is the delegation chain, nearest caller first, without
    `agent_id` itself.
    """

    agent_id: str
    assurance: Assurance
    chain: tuple[str, ...] = ()
    claims: dict[str, Any] = {}
    session_id: str = ""
    key: str = ""  # `kid` of the key that signed its token, "" without one
    principal: str = ""  # the SPIFFE id of its client certificate, "" without one


UNKNOWN: Final = Subject(agent_id="unknown", assurance=Assurance.NONE)


class Facts(Struct, frozen=True):
    """The question put to policy: exactly the bytes the engine sees, and the cache key with `revision`.

    `cacheable` is false where policy reads a volatile field or has a non-deterministic built-in.
    """

    question: bytes  # canonical JSON of the pruned input document
    revision: str  # the policy revision whose list of fields this was built from, "" when unknown
    cacheable: bool


class PluginAnswer(Struct, frozen=True):
    """What a policy written for opa-envoy-plugin wants Envoy to be told; names and values are such as HTTP
    permits. `headers` go upstream with an allow, to the client with a denial; the next four only matter to an
    allow, `http_status` and `body` only to a denial.
    """

    headers: tuple[tuple[str, str], ...] = ()
    headers_to_remove: tuple[str, ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    query_to_set: tuple[tuple[str, str], ...] = ()
    query_to_remove: tuple[str, ...] = ()
    http_status: int = 403
    body: str = ""
    metadata: dict[str, Any] = {}
    replaced: bool = False  # U+FFFD stands in one of its strings


class Verdict(Struct, frozen=True):
    """What policy says about those facts, with the revision that really produced it.

    `classification` is what policy calls the action: tool, category, sensitivity (each optional).
    """

    decision: Decision
    reason_code: str
    rule: str = ""
    rationale: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    score: dict[str, str] = {}
    obligations: dict[str, Any] = {}
    classification: dict[str, str] = {}
    policy_version: str = "none"
    policy_digest: str = "none"
    engine: str = "none"  # opa | none (decided before any engine was asked)
    cache: str = "none"  # hit | miss | shared (waited for another's miss) | bypass | none
    evaluation_us: int = 0
    answer: PluginAnswer | None = None  # of an entry point with `policy.compat`


class Ruling(Struct, frozen=True):
    """The Verdict after controls: what will be done. Its reply is written only with a Receipt."""

    decision: Decision
    reason_code: str
    http_status: int  # of a denial; 200 when allowed
    verdict: Verdict
    synced: bool  # the answer must wait for the sync whatever `reply_after` says
    mode: str = ENFORCE  # or SHADOW: policy said something else than what is done

    @property
    def allowed(self) -> bool:
        if self.decision is Decision.ALLOW:
            return True
        return self.decision is Decision.WOULD_BLOCK and self.mode is SHADOW


class Receipt(Struct, frozen=True):
    """Proof from the ledger that the record is down. An allow can be written only from one of these."""

    log: str
    seq: int
    entry_hash: str  # lowercase hex of the RFC 6962 leaf hash
    decision_id: str
    ruling: Ruling
