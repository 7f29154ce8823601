"""Starts what compose.yaml says, as processes: in its order, with its commands, each with its own mounts.

Each service has a root directory of its own, in which its mounts are links, and its image's files; absolute
paths of commands and mounted files are put below it. Names and ports of the network become loopback and free
ports. What this cannot show: isolation, users, networks, and whether a mount is really read-only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import yaml

from authz.up.deployment import ROOT, program
from authz.up.places import LOOPBACK, Ports
from authz.up.processes import Processes
from tests.deploy.image import Image

COMPOSE = ROOT / "deploy/compose.yaml"
FOREIGN = {"opa": "openpolicyagent/opa", "envoy": "envoyproxy/envoy"}  # service -> image, of the same name
HANDED_ON = ("/etc/aegis/gateway.yaml",)  # to another service, whose paths are in it
HEALTHY_WITHIN_S = 30.0


def services() -> dict[str, Any]:
    """Every service by name, with merges resolved. Raises ValueError for what compose would refuse."""
    text = COMPOSE.read_text()
    compose_spec.PyOptions(apply_merge=True).from_yaml(text).validate()
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


class Containers:
    """The services of compose.yaml below `directory`, whose path must be short: sockets lie in it."""

    def __init__(self, directory: Path, image: Image, processes: Processes, overlay: dict[str, Path]) -> None:
        """`overlay` replaces files that are mounted, by their name in deploy/."""
        self._directory, self._image, self._processes = directory, image, processes
        self._overlay = overlay
        self._services = services()
        self.ports = Ports.free()
        self._done: set[str] = set()
        self._network = {
            "0.0.0.0:9464": f"{LOOPBACK}:{self.ports.metrics}",
            "127.0.0.1:9464": f"{LOOPBACK}:{self.ports.metrics}",
            "0.0.0.0:9465": f"{LOOPBACK}:{self.ports.follower_metrics}",
            "127.0.0.1:9465": f"{LOOPBACK}:{self.ports.follower_metrics}",
            "0.0.0.0:8282": f"{LOOPBACK}:{self.ports.bundles}",
            "http://follower:8282": f"http://{LOOPBACK}:{self.ports.bundles}",
            "0.0.0.0, port_value: 10000": f"{LOOPBACK}, port_value: {self.ports.envoy}",
            "port_value: 10001": f"port_value: {self.ports.upstream}",
            "Upstream(10001)": f"Upstream({self.ports.upstream})",
        }

    def volume(self, name: str) -> Path:
        return self._directory / "volumes" / name

    def up(self, name: str) -> None:
        """Start `name` after what it depends on."""
        if name in self._done:
            return
        self._done.add(name)
        service = self._services[name]
        for other, how in service.get("depends_on", {}).items():
            self.up(other)
            if how["condition"] == "service_healthy":
                self._healthy(other)
        self._mount(name)
        command = self._command(name, [*self._entrypoint(name), *self._arguments(name)])
        if service["restart"] == "no":
            self.run(command)
            self._settle()
        else:
            self._processes.start(name, *command)

    def restart(self, name: str) -> None:
        """Start `name`, which has ended, with everything that it had."""
        words = [*self._entrypoint(name), *self._arguments(name)]
        self._processes.start(name, *self._command(name, words))

    def run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def prepare_again(self, **environment: str) -> None:
        """Run `setup` once more, with other values of its variables."""
        self._services["setup"]["environment"] |= environment
        self.run(self._command("setup", self._entrypoint("setup")))
        self._settle()

    def execute(self, name: str, *words: str) -> str:
        """What `docker compose exec` would print."""
        command = self._command(name, list(words))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def health(self, name: str) -> int:
        """Exit status of the service's health check, compose's own or else the image's."""
        own = self._services[name].get("healthcheck", {}).get("test", [])
        check = own[1:] or self._image.stages[self._stage(name)].healthcheck
        command = self._command(name, check)
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    def _healthy(self, name: str) -> None:
        end = time.monotonic() + HEALTHY_WITHIN_S
        while self.health(name) != 0:
            assert not self._processes.ended(), self._processes.ended()
            assert time.monotonic() < end, f"{name}: not healthy"

    def _stage(self, name: str) -> str:
        stage: str = self._services[name].get("build", {}).get("target", "")
        return stage

    def _entrypoint(self, name: str) -> list[str]:
        if name in FOREIGN:
            return [str(program(name))]
        own: list[str] | None = self._services[name].get("entrypoint")
        return own or self._image.stages[self._stage(name)].entrypoint

    def _arguments(self, name: str) -> list[str]:
        own: list[str] | None = self._services[name].get("command")
        return own if own is not None or name in FOREIGN else self._image.stages[self._stage(name)].command

    def _command(self, name: str, command: list[str]) -> list[str]:
        """`command` in the service's environment and nothing else, from the image's working directory."""
        root, service = self._directory / name, self._services[name]
        values = {} if name in FOREIGN else self._image.environment(self._stage(name), root)
        values |= {key: _default(value) for key, value in service.get("environment", {}).items()}
        workdir = root if name in FOREIGN else root / "var/lib/aegis"
        assignments = [f"{key}={self._here(value, name)}" for key, value in values.items()]
        words = [self._here(word, name) for word in command]
        return ["env", "-i", f"--chdir={workdir}", *assignments, *words]

    def _here(self, text: str, name: str) -> str:
        for there, here in self._network.items():
            text = text.replace(there, here)
        return self._image.rooted(text, self._directory / name)

    def _mount(self, name: str) -> None:
        root = self._directory / name
        root.mkdir()
        if name not in FOREIGN:
            self._put_in_the_image(name, root)
        for source, target in self._mounts(name):
            into = root / target.lstrip("/")
            into.parent.mkdir(parents=True, exist_ok=True)
            if not source.startswith("."):
                self.volume(source).mkdir(parents=True, exist_ok=True)
                if into.is_dir():
                    into.rmdir()
                into.symlink_to(self.volume(source))
            elif (file := self._overlay.get(Path(source).name, COMPOSE.parent / source)).is_dir():
                shutil.copytree(file, into)
            elif target in HANDED_ON:
                shutil.copy(file, into)
            else:
                into.write_text(self._here(file.read_text(), name))

    def _put_in_the_image(self, name: str, root: Path) -> None:
        for directory in ("opt", "host"):
            (root / directory).symlink_to(self._image.root / directory)
        programs = root / "usr/local/bin"
        programs.mkdir(parents=True)
        if self._stage(name) == "tools":
            script = self._image.root / "usr/local/bin/aegis-prepare"
            (programs / "aegis-prepare").write_text(self._image.rooted(script.read_text(), root))
            (programs / "opa").symlink_to(self._image.root / "usr/local/bin/opa")
        for directory in self._image.root.glob("var/lib/*"):
            (root / "var/lib" / directory.name).mkdir(parents=True)
        (root / "etc/aegis").mkdir(parents=True)

    def _mounts(self, name: str) -> Iterator[tuple[str, str]]:
        for each in self._services[name].get("volumes", []):
            source, target, *_ = each.split(":")
            yield source, target

    def _settle(self) -> None:
        """What `setup` wrote for others, with their paths and ports."""
        for name in ("opa", "envoy"):
            file = self.volume("prepared") / f"{name}.{'json' if name == 'opa' else 'yaml'}"
            file.write_text(self._here(file.read_text(), name))


def _default(value: str) -> str:
    """`${NAME:-default}` as compose reads it where NAME is not set."""
    found = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
    return found[1] if found else value
