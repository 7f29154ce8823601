"""Settings of an entry point whose policy was written for opa-envoy-plugin (`policy.compat`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from authz.config_section import Section


class Plugin(Section):
    """opa-envoy-plugin's own options; they count only with `policy.compat: opa-envoy-plugin`. Its `path` is
    `policy.entry_point`, its `dry-run` is our shadow mode.
    """

    skip_request_body_parse: bool = Field(
        default=False,
        description="Leave `parsed_body` and `truncated_body` out of the input: `not input.truncated_body` "
        "then holds for a partial body, too.",
    )
    proto_descriptor: Path | None = Field(
        default=None,
        description="FileDescriptorSet (relative to `state`) by which bodies of gRPC requests are parsed; "
        "Envoy must send them as bytes (`pack_as_bytes`). Unset: their `parsed_body` is null.",
    )
