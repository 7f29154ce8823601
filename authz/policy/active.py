"""Which policy version is active, as OPA itself says at `data.system.bundles`.

In: what OPA serves there. Out: an Active: the revision, and the plan by which its entry point is asked.
Called by `stage.py`. It believes a list of facts only from a single bundle that owns every path; whatever
else OPA may have loaded is foreign, and foreign policy is asked about the whole input.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from authz.policy.compat.plan import PluginPlan
from authz.policy.facts import WHOLE, Plan
from authz.policy.manifest import Manifest, entry_name, read_manifest


class Active(Struct, frozen=True):
    """The version in force. `manifest` is None for foreign policy; `revision` is then empty."""

    plan: Plan | PluginPlan
    manifest: Manifest | None = None

    @property
    def revision(self) -> str:
        return self.manifest.revision if self.manifest else ""


def read_active(bundles: Any, entry_point: str, plan: type[Plan | PluginPlan] = Plan) -> Active | None:
    """What is active, from the JSON of `GET /v1/data/system/bundles`; None when OPA has no bundle. `plan` is
    how it is asked.
    """
    loaded = bundles.get("result") if isinstance(bundles, dict) else None
    if not isinstance(loaded, dict) or not loaded:
        return None
    manifest = None
    if len(loaded) == 1:
        (bundle,) = loaded.values()
        manifest = read_manifest(bundle.get("manifest")) if isinstance(bundle, dict) else None
    entry = manifest.analysis.entry_points.get(entry_name(entry_point)) if manifest else None
    if manifest is None or entry is None:
        return foreign(plan)
    deterministic = not manifest.analysis.nondeterministic
    return Active(plan(entry, revision=manifest.revision, deterministic=deterministic), manifest)


def foreign(plan: type[Plan | PluginPlan] = Plan) -> Active:
    """How policy is asked that is not one of our versions: everything, and never from the cache."""
    return Active(plan(WHOLE, revision="", deterministic=False))
