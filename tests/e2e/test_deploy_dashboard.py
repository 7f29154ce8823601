"""Dashboard and rules speak of metrics that exist: a real Prometheus scrapes a running deployment.

Every panel's queries are sent to its HTTP API, as Grafana would send them, and have an answer.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.up.deployment import ROOT, Deployment, program
from authz.up.places import LOOPBACK, Ports
from authz.up.probe import answers
from authz.up.traffic import Agents, sample
from deploy.grafana import draw
from tests.e2e.stack import Stack, running

PROMETHEUS = ROOT / "deploy/prometheus"
SCRAPES = 5
WITHIN_S = 60.0
ROOT_KEY = {"aegis_record_certificate_seconds"}  # shown only where a root key is configured
TLS = {  # shown only where TLS is configured
    "aegis_tls_problem",
    "aegis_tls_refused_total",
    "aegis_tls_certificate_left_seconds",
    "aegis_tls_certificate_life_seconds",
}
PANELS = [panel for panel in draw.panels() if panel.kind != "row"]
_NAME = re.compile(r"\baegis_[a-z_]+")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment that also exports, and shows its checkpoints to somebody."""
    state, elsewhere = tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("elsewhere")
    with running(
        state, exporters={"files": {"enabled": True}}, anchors={"directory": {"path": str(elsewhere)}}
    ) as started:
        yield started


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Iterator[str]:
    """Base address of a Prometheus with a few scrapes of `stack` under traffic."""
    deployment = stack.deployment
    url = start(deployment, deployment.places.state / "prometheus")
    agents = Agents(deployment.proxy, stack.ledger)
    try:
        scraped = 0
        while scraped < SCRAPES:  # counters need a scrape before and after they count
            assert [outcome.faults for outcome in agents.play(sample(stack.issuer)) if outcome.faults] == []
            until(lambda at=scraped: scrapes(url) > at)
            scraped = scrapes(url)
    finally:
        agents.close()
    yield url
    deployment.processes.stop("prometheus")


def start(deployment: Deployment, directory: Path) -> str:
    """The reference configuration, with this deployment's addresses, scraping once a second."""
    tree = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    tree["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    tree["rule_files"] = [str(PROMETHEUS / name) for name in tree["rule_files"]]
    targets = {
        "aegis-worker": deployment.settings.listen.metrics,
        "aegis-follower": deployment.settings.follower.metrics,
    }
    for job in tree["scrape_configs"]:
        (static,) = job["static_configs"]
        static["targets"] = [targets.pop(job["job_name"])]
    assert not targets
    directory.mkdir()
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(tree))
    address = f"{LOOPBACK}:{Ports.free().envoy}"
    options = [f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/data"]
    deployment.processes.start(
        "prometheus", str(program("prometheus")), *options, f"--web.listen-address={address}"
    )
    deployment.processes.wait("prometheus", lambda: answers(address, "/-/ready"), "being ready")
    return f"http://{address}"


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def scrapes(url: str) -> int:
    """Of the target that was scraped least."""
    found = draw.ask(url, "query", query='count_over_time(up{job=~"aegis-.*"}[5m])')["result"]
    return min((int(one["value"][1]) for one in found), default=0) if len(found) == 2 else 0


def values(url: str, query: str) -> list[float]:
    found = draw.ask(url, "query", query=draw.filled_in(query, "30s"))["result"]
    return [float(one["value"][1]) for one in found]


def rules(url: str) -> list[dict[str, Any]]:
    return [rule for group in draw.ask(url, "rules")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "panel", [panel for panel in draw.panels() if panel.kind != "row"], ids=lambda p: p.title
)
def test_every_query_of_a_panel_has_an_answer(prometheus: str, panel: draw.Panel) -> None:
    assert panel.queries
    for query, _ in panel.queries:
        assert any(map(math.isfinite, values(prometheus, query))), query


def test_a_query_for_a_metric_that_does_not_exist_has_none(prometheus: str) -> None:
    assert values(prometheus, "rate(aegis_no_such_metric_total[$__rate_interval])") == []


def test_rules_speak_of_metrics_that_are_scraped(prometheus: str) -> None:
    scraped = set(draw.ask(prometheus, "label/__name__/values"))
    texts = [(PROMETHEUS / "rules.yaml").read_text(), draw.DASHBOARD.read_text()]
    texts += [file.read_text() for file in (PROMETHEUS / "tests").glob("*.yaml")]
    named = {name for text in texts for name in _NAME.findall(text)} - TLS - ROOT_KEY
    assert named
    assert all(f'"{name}"' in (ROOT / "authz/wire/tls.py").read_text() for name in TLS)
    assert all(f'"{name}"' in (ROOT / "authz/followers/renewal.py").read_text() for name in ROOT_KEY)
    assert named <= scraped | {name.rpartition("_")[0] for name in scraped}  # a histogram's own name


def test_rules_are_evaluated_without_a_fault_and_nothing_fires_here(prometheus: str) -> None:
    until(lambda: all(rule["health"] == "ok" for rule in rules(prometheus)))
    assert [rule["name"] for rule in rules(prometheus) if rule.get("state") == "firing"] == []
    for rule in rules(prometheus):
        if rule["type"] == "recording":
            assert any(map(math.isfinite, values(prometheus, rule["name"]))), rule["name"]


def test_the_panels_can_be_drawn_without_a_grafana(prometheus: str, tmp_path: Path) -> None:
    out = tmp_path / "dashboard.png"
    draw.Drawing(prometheus, 1.0, "30s").save(draw.panels(), out)
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert out.stat().st_size < 150_000
