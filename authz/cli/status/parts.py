"""What `aegis status` says of each part of a deployment: how it is, in a few words, and its figures.

In: a Deployment as `reading.py` found it. Out: Parts in the order in which they are shown. What is not known
is said to be unknown, with the reason: a part that is down makes nobody else look well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from authz.cli.status.reading import Deployment, Scrape
from authz.config import Settings

State = Literal["ok", "warn", "down", "unknown", "off"]
UNSEALED_S = 60.0  # and below, the bounds of the alerts in deploy/prometheus/rules.yaml
AWAY_S = 30.0
EXPOSED_S = 1800.0


class Part(Struct, frozen=True):
    """`figures` are for programs: seconds, counts, names."""

    name: str
    state: State
    said: str
    figures: dict[str, Any] = {}


def parts(settings: Settings, found: Deployment) -> list[Part]:
    """All of them."""
    return [
        _worker(settings, found),
        _opa(settings, found),
        _policy(found),
        _failure(found),
        _shadow(found),
        _cache(found),
        _follower(settings, found),
        *_logs(found),
        _control(found),
        _anchors(settings, found),
    ]


def _worker(settings: Settings, found: Deployment) -> Part:
    at = f"{settings.worker} at {settings.listen.metrics or 'no address'}"
    if found.worker is None:
        return Part("worker", "down", f"{at}: {found.away['worker']}")
    decisions = found.worker.of("aegis_decisions_total", "decision")
    refused = found.worker.value("aegis_refusals_total")
    figures = {
        "decisions": int(found.worker.value("aegis_decisions_total")),
        "refused": int(refused),
        "waiting": int(found.worker.value("aegis_waiting_requests")),
        "not_ready": list(found.worker.not_ready),
    }
    if found.worker.not_ready:
        return Part("worker", "warn", f"{at} is not ready: {'; '.join(found.worker.not_ready)}", figures)
    said = f"{figures['decisions']} decisions, {figures['refused']} refused, {figures['waiting']} waiting"
    return Part("worker", "ok", f"{at}: {said if decisions else 'no decision yet'}", figures)


def _opa(settings: Settings, found: Deployment) -> Part:
    if settings.policy.engine == "wasm":
        return Part("opa", "off", "none is needed: the worker evaluates policy itself")
    socket = settings.path(settings.policy.opa_socket)
    if found.opa is None:
        return Part("opa", "down", f"{socket}: {found.away['opa']}")
    silent_s = found.worker.value("aegis_policy_staleness_seconds") if found.worker else 0.0
    figures = {"version": found.opa.version, "staleness_s": round(silent_s, 1)}
    version = f"OPA {found.opa.version}" if found.opa.version else "it"
    if silent_s > AWAY_S:
        return Part(
            "opa", "warn", f"{version} answers here, but not the worker for {span(silent_s)}", figures
        )
    return Part("opa", "ok", f"{version} answers at {socket}", figures)


def _policy(found: Deployment) -> Part:
    """Which version decides."""
    decides = _decides(found)
    revision = decides or (found.opa.revision if found.opa else "")
    age_s = found.worker.value("aegis_policy_age_seconds") if found.worker else None
    figures: dict[str, Any] = {"revision": revision, "age_s": age_s and round(age_s, 1), "named": found.named}
    if not revision:
        known = found.worker or found.opa
        return Part(
            "policy",
            "down" if known else "unknown",
            "no version is active" if known else "nobody says",
            figures,
        )
    said = short(revision) + (f", for {span(age_s)}" if age_s is not None else ", by OPA's word")
    if found.opa and decides and found.opa.revision != decides:
        return Part("policy", "warn", f"{said}; OPA has {short(found.opa.revision) or 'none'}", figures)
    if found.named is not None and found.named != revision:
        return Part("policy", "warn", f"{said}; named is {short(found.named) or 'none'}", figures)
    if found.named is None:
        return Part("policy", "ok", f"{said}; which one is named is not known here", figures)
    return Part("policy", "ok", said, figures)


def _decides(found: Deployment) -> str:
    """The revision by the worker's word, "" without one."""
    info = found.worker.labels("aegis_policy_info") if found.worker else {}
    return f"{info['version']}+{info['digest']}" if info.get("digest", "none") != "none" else ""


def _failure(found: Deployment) -> Part:
    """What could not be activated."""
    failure = found.opa.failure if found.opa else None
    code = found.worker.labels("aegis_policy_activation_failed").get("code", "") if found.worker else ""
    for_s = found.worker.value("aegis_policy_activation_failed_seconds") if found.worker else 0.0
    waits_s = found.follower.value("aegis_policy_awaited_seconds") if found.follower else 0.0
    for_s = max(for_s, waits_s)
    if failure is None and not code and waits_s <= UNSEALED_S:
        known = found.opa or found.worker
        return Part("activation", "ok" if known else "unknown", "nothing failed" if known else "nobody says")
    revision = found.opa.revision if found.opa else _decides(found)
    what = f"{short(found.named)}: " if found.named and found.named != revision else ""
    why = f"{failure.code}: {failure.detail}" if failure else code or "OPA does not ask for it"
    figures = {
        "code": failure.code if failure else code,
        "detail": failure.detail if failure else "",
        "for_s": round(for_s, 1),
    }
    return Part("activation", "warn", f"{what}{why}" + (f", for {span(for_s)}" if for_s else ""), figures)


def _shadow(found: Deployment) -> Part:
    """What is recorded and not enforced."""
    if found.worker is None:
        return Part("shadow", "unknown", "the worker does not answer")
    everything, agents, rules = (
        int(found.worker.value(f"aegis_shadow_{what}")) for what in ("all", "agents", "rules")
    )
    would_block = int(found.worker.value("aegis_would_block_total"))
    figures: dict[str, Any] = {
        "all": bool(everything),
        "agents": agents,
        "rules": rules,
        "would_block": would_block,
    }
    let_out = f"{would_block} would have been blocked"
    if everything:
        for_s = found.worker.value("aegis_shadow_all_seconds")
        figures["for_s"] = round(for_s, 1)
        return Part("shadow", "warn", f"nothing of policy is enforced, for {span(for_s)}; {let_out}", figures)
    if agents or rules:
        return Part("shadow", "ok", f"{agents} agents, {rules} rules; {let_out}", figures)
    return Part("shadow", "off", "everything is enforced", figures)


def _cache(found: Deployment) -> Part:
    if found.worker is None:
        return Part("cache", "unknown", "the worker does not answer")
    hits, misses = (int(found.worker.value(f"aegis_cache_{what}_total")) for what in ("hits", "misses"))
    kept = int(found.worker.value("aegis_cache_entries"))
    figures = {"hits": hits, "misses": misses, "entries": kept}
    share = (
        f"{hits / (hits + misses):.0%} of {hits + misses} questions" if hits + misses else "no question yet"
    )
    return Part("cache", "ok", f"{share}, {kept} verdicts kept", figures)


def _follower(settings: Settings, found: Deployment) -> Part:
    at = settings.follower.metrics or "no address"
    if found.follower is None:
        return Part("follower", "down", f"{at}: {found.away['follower']}")
    figures = {"not_ready": list(found.follower.not_ready)}
    if found.follower.not_ready:
        return Part("follower", "warn", f"{at} is not ready: {'; '.join(found.follower.not_ready)}", figures)
    return Part("follower", "ok", at, figures)


def _logs(found: Deployment) -> Iterator[Part]:
    """From the files: also where nobody runs any more."""
    if found.damage:
        yield Part("ledger", "down", f"{found.damage}; `aegis verify` says more")
    if not found.logs and not found.damage:
        yield Part("ledger", "unknown", "no log is here yet")
    behind_s = found.follower.value("aegis_follower_last_seal_seconds") if found.follower else None
    healthy = found.worker is None or found.worker.value("aegis_ledger_healthy") == 1
    for log in found.logs:
        waits = max(0, log.entries - log.sealed)
        figures = {"log": log.name, "entries": log.entries, "unsealed": waits, "last": log.last}
        said = (
            f"{log.worker}: {log.entries} entries, {waits} not sealed yet, the last one of {log.last[:19]}Z"
        )
        late = waits and (behind_s is None or behind_s > UNSEALED_S)
        yield Part("ledger", "warn" if late else "ok", said, figures)
    if not healthy:
        yield Part("ledger", "down", "the worker cannot write records")


def _control(found: Deployment) -> Part:
    if found.follower is None:
        return Part("control log", "unknown", "the follower does not answer")
    waiting = int(found.follower.value("aegis_control_waiting_events"))
    failures = int(found.follower.value("aegis_control_failures_total"))
    said = f"{waiting} events wait, {failures} rounds failed"
    return Part("control log", "ok", said, {"waiting": waiting, "failures": failures})


def _anchors(settings: Settings, found: Deployment) -> Part:
    if not settings.anchors.any:
        return Part("anchors", "off", "none are set")
    if found.follower is None:
        return Part(
            "anchors", "unknown", "the follower does not answer; `aegis anchors status` reads the disk"
        )
    lags = found.follower.of("aegis_anchor_lag_seconds", "anchor")
    exposed_s = found.follower.value("aegis_tail_exposure_seconds")
    refused, contradicted = (
        _named(found.follower, f"aegis_anchor_{what}_logs") for what in ("refused", "contradicted")
    )
    said = ", ".join(f"{name} {span(lag)} behind" for name, lag in sorted(lags.items()))
    figures = {
        "lag_s": lags,
        "exposed_s": round(exposed_s, 1),
        "refused": refused,
        "contradicted": contradicted,
    }
    if contradicted:
        return Part("anchors", "down", f"{', '.join(contradicted)} know another history; {said}", figures)
    if refused or exposed_s > EXPOSED_S:
        return Part("anchors", "warn", f"refused by {', '.join(refused) or 'none'}; {said}", figures)
    return Part("anchors", "ok", said, figures)


def _named(scrape: Scrape, name: str) -> list[str]:
    return sorted(anchor for anchor, count in scrape.of(name, "anchor").items() if count)


def short(revision: str) -> str:
    """`v1.3.2 (71cffa70)`: what tells a person which it is."""
    version, _, digest = revision.partition("+")
    return f"{version} ({digest[:8]})" if digest else version


def span(seconds: float) -> str:
    """`4 s`, `3 min`, `5.2 h`, `9.1 d`."""
    for unit, size in (("d", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
