"""Reads deploy/Dockerfile and carries out what it says, in directories instead of layers.

No container engine is needed: every RUN, ENTRYPOINT, CMD and HEALTHCHECK is executed as it is written, except
that the image's absolute paths lie below a scratch directory, and that OWNER is whoever runs the tests.
What this cannot show: the base images, the isolation, and that their `python` is the version that they name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from authz.up.deployment import ROOT, program

DOCKERFILE = ROOT / "deploy/Dockerfile"
_PATHS = re.compile(r"(?<![\w.-])/(?:opt|src|run/aegis|etc/aegis|var/lib/aegis|usr/local/bin)\b")
_VARIABLE = re.compile(r"\$(\w+)")
_STEP_WITHIN_S = 300
# Where packages come from is a matter of the machine that builds.
_FROM_HERE = ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY")


@dataclass
class Stage:
    """One stage of the Dockerfile, with what it has from the one that it is made from."""

    name: str
    base: str
    variables: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)  # (RUN | COPY | WORKDIR, its text)
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    @property
    def workdir(self) -> str:
        return [text for kind, text in self.steps if kind == "WORKDIR"][-1]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        yield name, re.sub(r"\s+", " ", rest).strip() if name != "RUN" else rest.strip()


def stages(text: str) -> dict[str, Stage]:
    """Every stage by name. Raises KeyError for an instruction that is not known here."""
    found: dict[str, Stage] = {}
    for name, rest in instructions(text):
        if name == "FROM":
            base, name = rest.split(" AS ")
            known = found.get(base)
            inherited = vars(known) | {"variables": dict(known.variables), "steps": []} if known else {}
            stage = found[name] = Stage(**inherited | {"name": name, "base": base})
            if known:
                stage.steps = list(known.steps)
            continue
        _TAKE[name](stage, rest)
    return found


def _assign(stage: Stage, rest: str) -> None:
    for each in rest.split(" "):
        name, _, value = each.partition("=")
        stage.variables[name] = value


def _healthcheck(stage: Stage, rest: str) -> None:
    stage.healthcheck = json.loads(rest.partition("CMD ")[2])


_TAKE: dict[str, Any] = {
    "ARG": _assign,
    "ENV": _assign,
    "RUN": lambda stage, rest: stage.steps.append(("RUN", rest)),
    "COPY": lambda stage, rest: stage.steps.append(("COPY", rest)),
    "WORKDIR": lambda stage, rest: stage.steps.append(("WORKDIR", rest)),
    "USER": lambda stage, rest: setattr(stage, "user", rest),
    "ENTRYPOINT": lambda stage, rest: setattr(stage, "entrypoint", json.loads(rest)),
    "CMD": lambda stage, rest: setattr(stage, "command", json.loads(rest)),
    "HEALTHCHECK": _healthcheck,
    "EXPOSE": lambda stage, rest: None,
}


class Image:
    """The image's file system below `root`, built by the Dockerfile's own commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stages = stages(DOCKERFILE.read_text())
        (root / "host").mkdir()
        # The base image has a `python`; here it is the one that this environment was made from.
        (root / "host/python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")

    def build(self) -> None:
        """Carry out the steps of each stage once, in order."""
        done: list[tuple[str, str]] = []
        for stage in self.stages.values():
            for step in stage.steps:
                if step not in done or step[0] == "WORKDIR":
                    {"RUN": self._run, "COPY": self._copy, "WORKDIR": self._enter}[step[0]](stage, step[1])
                    done.append(step)

    def rooted(self, text: str, root: Path | None = None) -> str:
        """`text` with the image's absolute paths below `root`, by default the image's own."""
        return _PATHS.sub(lambda found: f"{root or self.root}{found[0]}", text)

    def environment(self, stage: str, root: Path | None = None) -> dict[str, str]:
        """What a process of `stage` has, and nothing of this one's but where packages come from."""
        path = f"{root or self.root}/usr/local/bin:{self.root}/host:/usr/bin:/bin"
        values = {"PATH": path} | {name: os.environ[name] for name in _FROM_HERE if name in os.environ}
        for name, value in self.stages[stage].variables.items():
            values[name] = self.rooted(_VARIABLE.sub(lambda found: values[found[1]], value), root)
        return values | {"OWNER": str(os.getuid())}

    def _run(self, stage: Stage, command: str) -> None:
        done = subprocess.run(
            ["sh", "-c", self.rooted(command)],
            cwd=self.rooted(stage.workdir if stage.name == "build" else "/src"),
            env=self.environment(stage.name),
            capture_output=True,
            text=True,
            timeout=_STEP_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}{done.stderr}"

    def _copy(self, stage: Stage, rest: str) -> None:
        words = _VARIABLE.sub(lambda found: stage.variables[found[1]], rest).split(" ")
        if words[0] == "--from=build":  # one scratch directory for all stages: it is there already
            assert Path(self.rooted(words[1])).is_dir()
            assert words[1] == words[2]
            return
        target = Path(self.rooted(words[-1]) if words[-1][0] == "/" else self.rooted(f"/src/{words[-1]}"))
        sources = [program("opa")] if words[0] == "--from=opa" else [ROOT / word for word in words[:-1]]
        for source in sources:
            into = target / source.name if words[-1].endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, into)

    def _enter(self, stage: Stage, directory: str) -> None:
        Path(self.rooted(directory)).mkdir(parents=True, exist_ok=True)


_FROM_HERE = (
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTPS_PROXY",
)
