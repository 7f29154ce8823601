"""What is refused with --wasm, by file, line and name, and what is compiled."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from authz.errors import PolicyRejected
from authz.policy.opa_tool import OpaTool
from authz.policy.wasm.builtins import BUILTINS, Outcome
from authz.policy.wasm.compiling import compile_wasm
from authz.policy.wasm.program import Program
from authz.up.deployment import ROOT
from tests.policy.wasm import BOUNDS, program, said

PAGE = (ROOT / "docs/wasm.md").read_text()


def compiled(rego: str) -> bytes:
    return compile_wasm({"/aegis/decision.rego": rego.encode()}, ["aegis/decision"], OpaTool())


def refused(body: str) -> str:
    with pytest.raises(PolicyRejected) as caught:
        compiled(f"package aegis\n\n{body}\n")
    return str(caught.value)


def test_the_page_shows_what_is_refused() -> None:
    (rego,) = re.findall(r"^```rego\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with pytest.raises(PolicyRejected) as caught:
        compiled(rego)
    assert f"```console\n{caught.value}\n```" in PAGE


def test_the_page_counts_the_built_ins() -> None:
    possible = sum(builtin.outcome is not Outcome.DIFFERS for builtin in BUILTINS.values())
    assert f"| {possible} of them, see below |" in PAGE


@pytest.mark.parametrize(
    "body",
    [
        "decision := time.now_ns()",
        'decision := 1 if count(input.a) with count as rand["intn"]',
        'decision := {x | x := http["send"]({})}',
        "helper(x) := io.jwt.decode(x)\n\ndecision := helper(input.a)",
        'decision := $"{input.a}"',
        "decision := input.a / 2",
        'decision := [x | some y in input.a; x := replace(y, "a", "b")]',
    ],
)
def test_however_it_is_called_it_is_refused(body: str) -> None:
    assert re.match(r"not possible with --wasm:\naegis/decision\.rego:[0-9]+: ", refused(body))


def test_one_source_gives_one_module() -> None:
    rego = "package aegis\n\ndecision := count(input.a)\n"
    assert compiled(rego) == compiled(rego)


def test_a_rule_may_be_called_like_a_built_in_that_is_missing() -> None:
    asked = program("indexof(x) := x + 1\n\ndecision := indexof(input.a)")
    assert said(asked, a=1) == 2


def test_a_bundle_that_was_compiled_elsewhere_is_looked_at_again(tmp_path: Path) -> None:
    """A worker believes the module no more than the source."""
    rego = "package aegis\n\ndecision := indexof(input.a, input.b)\n"
    (tmp_path / "d.rego").write_text(rego)
    OpaTool().run(["build", "-t", "wasm", "-e", "aegis/decision", "d.rego", "-o", "b.tgz"], tmp_path)
    with tarfile.open(tmp_path / "b.tgz") as tar:
        stream = tar.extractfile("/policy.wasm")
        assert stream
        module = stream.read()
    with pytest.raises(PolicyRejected, match=r"indexof in data\.aegis\.decision may answer"):
        Program(module, b"{}", "aegis/decision", BOUNDS)
