"""The embedded engine: it follows the signed versions as OPA does, ends every evaluation, and says why."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.errors import ConfigError, Denied, PolicyRejected
from authz.policy.activation import read_failure
from authz.policy.cache import VerdictCache
from authz.policy.engine_wasm import WasmEngine
from authz.policy.stage import PolicyStage
from authz.policy.versions import SUFFIX
from authz.policy.wasm.binary import MODULE
from authz.policy.wasm.program import Bounds, Program
from authz.testing import a_request
from authz.values import MISSING, Decision, Reason
from tests.policy.faults import FAULTS, VERSION, Fault
from tests.policy.opa import DENY, activate, bundle_server, decide, until, version_of
from tests.policy.wasm import (
    BOUNDS,
    engine_following,
    failure,
    files_of,
    program,
    revision,
    said,
    settings_for,
)

ECHO = 'decision := {"decision": "allow", "reason_code": "permitted", "rule": input.agent.id}'


# Versions.


async def test_the_active_version_decides_and_is_named_and_the_next_one_replaces_it(tmp_path: Path) -> None:
    first, second = version_of(tmp_path, ECHO, wasm=True), version_of(tmp_path, DENY, "v2", wasm=True)
    activate(tmp_path / "bundles", "v1")
    async with engine_following(tmp_path / "bundles", tmp_path / "state") as engine:
        answer = await engine.decide(b'{"agent":{"id":"a"}}', 1)
        assert (answer.result["rule"], answer.revisions) == ("a", {"aegis": first.revision})
        assert (await engine.decide(b"{}", 1)).result is MISSING
        activate(tmp_path / "bundles", "v2")
        await until(lambda: _is(engine, second.revision))
        answer = await engine.decide(b'{"agent":{"id":"a"}}', 1)
    assert (answer.result["decision"], answer.revisions) == ("deny", {"aegis": second.revision})


async def _is(engine: WasmEngine, wanted: str) -> bool:
    return await revision(engine) == wanted


async def test_the_stage_decides_by_it_and_records_its_name(tmp_path: Path) -> None:
    version = version_of(tmp_path, ECHO, wasm=True)
    activate(tmp_path / "bundles", "v1")
    async with bundle_server(tmp_path / "bundles") as url:
        engine = WasmEngine(settings_for(tmp_path / "state", url))
        policy = PolicyStage(engine, cache=VerdictCache(10, 30), timeout_s=1, poll_s=0.05)
        await policy.start()
        first, again = [await decide(policy, a_request()) for _ in range(2)]
        await policy.stop()
    assert (first.decision, first.engine, first.cache) == (Decision.ALLOW, "wasm", "miss")
    assert (again.cache, again.policy_digest) == ("hit", version.digest)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_bundle_that_is_not_well_leaves_the_old_version_and_is_named(
    tmp_path: Path, fault: Fault
) -> None:
    old = version_of(tmp_path, DENY, wasm=True)
    activate(tmp_path / "bundles", "v1")
    async with engine_following(tmp_path / "bundles", tmp_path / "state") as engine:
        fault.make(tmp_path)
        activate(tmp_path / "bundles", VERSION)
        await until(lambda: failure(engine))
        found = read_failure(await engine.get("/v1/status", 1))
        assert (await engine.decide(b"{}", 1)).revisions == {"aegis": old.revision}
        assert found
        assert found.code in (fault.code, "not_activated")
        activate(tmp_path / "bundles", "v1")
        await until(lambda: _is_well(engine))


async def _is_well(engine: WasmEngine) -> bool:
    return not await failure(engine)


async def test_a_version_without_wasm_is_not_taken(tmp_path: Path) -> None:
    version_of(tmp_path, DENY)
    activate(tmp_path / "bundles", "v1")
    async with engine_following(tmp_path / "bundles", tmp_path / "state") as engine:
        with pytest.raises(Denied) as caught:
            await engine.decide(b"{}", 1)
        assert caught.value.reason is Reason.ENGINE_UNAVAILABLE
        assert "published without --wasm" in (await failure(engine))["errors"][0]["message"]


async def test_a_restart_without_the_server_has_the_last_good_version(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY, wasm=True)
    activate(tmp_path / "bundles", "v1")
    state = tmp_path / "state"
    async with engine_following(tmp_path / "bundles", state):
        await until((state / "run/policy/worker-0.tar.gz").exists)
    engine = WasmEngine(settings_for(state, "http://127.0.0.1:9"))
    await engine.start()
    assert (await engine.decide(b"{}", 1)).revisions == {"aegis": version.revision}
    assert (await failure(engine))["errors"][0]["code"] == "not_downloaded"
    await engine.close()


async def test_what_was_kept_is_checked_like_what_comes(tmp_path: Path) -> None:
    version_of(tmp_path, DENY, wasm=True)
    activate(tmp_path / "bundles", "v1")
    state = tmp_path / "state"
    kept = state / "run/policy/worker-0.tar.gz"
    async with engine_following(tmp_path / "bundles", state):
        await until(kept.exists)
    kept.write_bytes(kept.read_bytes()[:-50])
    engine = WasmEngine(settings_for(state, "http://127.0.0.1:9"))
    await engine.start()
    with pytest.raises(Denied):
        await engine.decide(b"{}", 1)
    await engine.close()


async def test_a_server_that_comes_late_is_found(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY, wasm=True)
    async with bundle_server(tmp_path / "bundles") as url:
        engine = WasmEngine(settings_for(tmp_path / "state", url))
        await engine.start()
        assert await revision(engine) == ""
        activate(tmp_path / "bundles", "v1")
        await until(lambda: _is(engine, version.revision))
        await engine.close()


def test_without_opas_configuration_it_does_not_start(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "http://127.0.0.1:9")
    told = tmp_path / "run/opa.json"
    told.write_text("{}")
    with pytest.raises(ConfigError, match=r"opa\.json: not what `aegis policy opa-config` prints"):
        WasmEngine(settings)
    told.unlink()
    with pytest.raises(ConfigError, match=r"policy\.wasm\.opa_config: .*opa\.json: No such file"):
        WasmEngine(settings)


# Evaluations.

HARD = """
many := numbers.range(1, input.n)

decision := {"n": count([1 | some x in many; some y in many; x == y])}

deep := {"d": count([1 | walk(input.tree, [_, _])])}
"""


def test_an_evaluation_ends_with_its_fuel_and_the_next_is_well() -> None:
    hard = program(HARD, bounds=Bounds(64_000_000, 5_000_000))
    assert said(hard, n=30) == {"n": 30}
    for _ in range(3):
        assert said(hard, n=30_000).startswith("engine_fuel: ")
        assert said(hard, n=30) == {"n": 30}


def test_an_evaluation_that_needs_too_much_memory_is_denied_by_name_and_the_next_is_well() -> None:
    rego = 'decision := {"n": count([[x, y] | some x in input.list; some y in input.list])}'
    hungry = program(rego, bounds=Bounds(2_000_000, 10_000_000_000))
    assert said(hungry, list=[1, 2]) == {"n": 4}
    for _ in range(3):
        assert said(hungry, list=list(range(600))).startswith("engine_memory: ")
        assert said(hungry, list=["x" * 3_000_000]).startswith("engine_memory: ")
        assert said(hungry, list=[1, 2]) == {"n": 4}


def test_an_input_that_nests_without_end_breaks_off_and_the_next_is_well() -> None:
    deep = program(HARD, ("aegis/deep", "aegis/decision"), Bounds(64_000_000, 10_000_000_000))
    tree = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(Denied) as caught:
        deep.decide(b'{"tree":' + tree + b"}")
    assert caught.value.reason in (Reason.ENGINE_TRAP, Reason.ENGINE_MEMORY)
    assert said(deep, tree=[[]]) == {"d": 2}


def test_a_failed_evaluation_leaves_nothing_behind() -> None:
    """Each fault costs an instance, and none of them stays in memory."""
    rego = 'decision := {"a": lower(input.a)}'
    failing = program(rego)
    for _ in range(20):
        said(failing, a=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        assert said(failing, a=1) == "policy_error: wasm: lower in data.aegis.decision"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; one instance has 256


def test_nothing_of_one_question_is_left_in_the_next() -> None:
    rego = 'decision := {"x": [k | some k, _ in input.x], "seen": object.get(input, "y", "nothing")}'
    asked = program(rego)
    assert said(asked, x={"b": 1, "a": 2}, y="secret") == {"x": ["a", "b"], "seen": "secret"}
    assert said(asked, x={"d": 1, "c": 2}) == {"x": ["c", "d"], "seen": "nothing"}


def test_conflicting_rules_are_an_error_that_names_the_line_and_no_input_value() -> None:
    rego = "decision := input.a\n\ndecision := input.b"
    asked = program(rego)
    assert said(asked, a="x", b="x") == "x"
    conflict = "policy_error: wasm: aegis/decision.rego:5:1: var assignment conflict"
    assert said(asked, a="sesame", b="y") == conflict


def test_a_policy_for_the_plugin_has_no_errors_as_it_has_none_there() -> None:
    """`policy.compat`: what fails is undefined, in OPA as it is asked then, and here."""
    rego = 'decision := "refused" if not startswith(input.a, "x")'
    assert said(program(rego), a=1) == "policy_error: wasm: startswith in data.aegis.decision"
    assert said(program(rego, strict=False), a=1) == "refused"


async def test_an_entry_point_may_be_a_package(tmp_path: Path) -> None:
    version_of(tmp_path, ECHO, wasm=True, entry_points=("/aegis",))
    activate(tmp_path / "bundles", "v1")
    async with bundle_server(tmp_path / "bundles") as url:
        settings = settings_for(tmp_path / "state", url)
        policy = settings.policy.model_copy(update={"entry_point": "/aegis"})
        engine = WasmEngine(settings.model_copy(update={"policy": policy}))
        await engine.start()
        answer = await engine.decide(b'{"agent":{"id":"a"}}', 1)
        await engine.close()
    assert answer.result["decision"]["rule"] == "a"


def test_data_beyond_the_limit_are_refused_when_the_version_is_taken() -> None:
    with pytest.raises(PolicyRejected, match="memory"):
        program("decision := data.big", bounds=Bounds(2_000_000, 1_000_000), big=["y" * 1000] * 3000)


@pytest.mark.parametrize(
    "change", [lambda module: b"", lambda module: module[:-100], lambda module: b"\0" + module]
)
def test_a_module_that_is_none_is_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    files = files_of(version_of(tmp_path, DENY, wasm=True))
    with pytest.raises(PolicyRejected, match=r"policy\.wasm: "):
        Program(change(files[MODULE]), b"{}", "aegis/decision", BOUNDS)
    with pytest.raises(PolicyRejected, match="no entry point aegis/nowhere"):
        Program(files[MODULE], b"{}", "aegis/nowhere", BOUNDS)


def test_the_file_of_a_version_is_named_after_what_it_holds(tmp_path: Path) -> None:
    """The WebAssembly is part of the digest: a version with it is another one, and both are reproducible."""
    plain = version_of(tmp_path / "a", DENY)
    made = [version_of(tmp_path / name, DENY, wasm=True) for name in ("b", "c")]
    assert made[0].revision == made[1].revision != plain.revision
    assert made[0].file.name == f"{made[0].revision}{SUFFIX}"
