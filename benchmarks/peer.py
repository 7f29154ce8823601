"""opa-envoy-plugin beside ours: the same library and data, asked through `peer/peer.rego`.

In: its binary. Out: running processes on Unix sockets, one without a decision log and one that writes each
decision to a file, as its console log does. It has no cache, no signature and no sync: what it answers is on
disk when the kernel writes it. It reads no raw headers, so Envoy sends it plain ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from authz.config_identity import Identity
from authz.up.processes import Processes

HERE = Path(__file__).parent
LOGS = {"plugin, log off": False, "plugin, log on": True}


def policy(source: Path, jwks: Path, identity: Identity, directory: Path) -> Path:
    """The plugin's policy directory: `source`, the wrapper, and the issuer that it trusts."""
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("*_test.rego", "schemas"))
    shutil.copytree(HERE / "peer", directory / "peer")
    (directory / "issuer").mkdir()
    issuer = {"keys": json.loads(jwks.read_text()), "issuer": identity.issuer, "audience": identity.audience}
    (directory / "issuer/data.json").write_text(json.dumps(issuer))
    return directory


def start(binary: Path, policy: Path, sockets: Path, processes: Processes) -> dict[str, Path]:
    """Name -> socket of each that runs and listens."""
    listening = {}
    for number, (name, log) in enumerate(LOGS.items()):
        socket = sockets / f"plugin{number}.sock"
        settings = {
            "plugins.envoy_ext_authz_grpc.addr": f"unix://{socket}",
            "plugins.envoy_ext_authz_grpc.path": "peer/allow",
            "decision_logs.console": str(log).lower(),
            # Tokens that it has verified, as ours keeps them. Without, each decision verifies anew.
            "caching.inter_query_builtin_value_cache.named.io_jwt.max_num_entries": "10000",
        }
        options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
        api = ["--addr", f"unix://{sockets / f'plugin{number}-api.sock'}", "--disable-telemetry"]
        processes.start(name, str(binary), "run", "--server", *api, *options, str(policy))
        processes.wait(name, socket.exists, "listening", seconds=120)
        listening[name] = socket
    return listening
