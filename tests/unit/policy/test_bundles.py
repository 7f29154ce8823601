"""The bundle server: what is active, told at once when it changes, and never another file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from authz.errors import EvidenceUnavailable, PolicyRejected
from authz.followers.bundles import CONTENT_TYPE, RESOURCE, Served, bundle_app, opa_command, opa_config
from authz.policy.store import DirectoryStore
from authz.policy.versions import SUFFIX, Activation, Versions
from tests.policy.opa import activate, active, listed, until

ONE, TWO = f"v1+{'1' * 64}", f"v2+{'2' * 64}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for revision in (ONE, TWO):
        listed(tmp_path, revision, revision.encode())
    return tmp_path


def served(directory: Path, tell: Callable[[Activation], None] | None = None) -> Served:
    return Served(Versions(DirectoryStore(directory)), tell)


def asking(served: Served) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=bundle_app(served))
    return httpx.AsyncClient(transport=transport, base_url="http://bundles")


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(served(directory)) as made:
        yield made


def polling(etag: str, wait_s: int) -> dict[str, str]:
    return {"If-None-Match": etag, "Prefer": f"modes=snapshot,delta;wait={wait_s}"}


async def test_before_an_activation_there_is_nothing_to_serve(
    client: httpx.AsyncClient, directory: Path
) -> None:
    assert active(directory) is None
    assert (await client.get(RESOURCE)).status_code == 404


async def test_the_active_version_is_served_with_its_revision_as_etag(
    client: httpx.AsyncClient, directory: Path
) -> None:
    assert activate(directory, "v1") == ONE
    answer = await client.get(RESOURCE)
    assert (answer.status_code, answer.text, answer.headers["etag"]) == (200, ONE, f'"{ONE}"')
    assert answer.headers["content-type"] == CONTENT_TYPE


async def test_who_has_it_already_gets_304(client: httpx.AsyncClient, directory: Path) -> None:
    activate(directory, "v1")
    answer = await client.get(RESOURCE, headers={"If-None-Match": f'"{ONE}"'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["content-type"] == CONTENT_TYPE  # or OPA would stop polling long


async def test_a_waiting_poll_is_answered_by_an_activation(
    client: httpx.AsyncClient, directory: Path
) -> None:
    activate(directory, "v1")
    poll = asyncio.create_task(client.get(RESOURCE, headers=polling(f'"{ONE}"', 50)))
    done, _ = await asyncio.wait([poll], timeout=0.15)
    assert not done
    activate(directory, "v2")
    assert (await poll).text == TWO


async def test_a_poll_that_waited_in_vain_gets_304(client: httpx.AsyncClient, directory: Path) -> None:
    activate(directory, "v1")
    assert (await client.get(RESOURCE, headers=polling(f'"{ONE}"', 1))).status_code == 304


async def test_a_stopping_server_ends_waiting_polls(directory: Path) -> None:
    activate(directory, "v1")
    transport = httpx.ASGITransport(app=bundle_app(served(directory), lambda: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://bundles") as made:
        assert (await made.get(RESOURCE, headers=polling(f'"{ONE}"', 50))).status_code == 304


async def test_nothing_else_is_served_or_taken(client: httpx.AsyncClient, directory: Path) -> None:
    activate(directory, "v1")
    assert (await client.get(f"{RESOURCE}/../activations/00000001.json")).status_code == 404
    assert (await client.get(f"/{ONE}.tar.gz")).status_code == 404
    assert (await client.put(RESOURCE, content=b"x")).status_code == 405


@pytest.mark.parametrize("version", ["v3", "", "v", "*", ONE[:-1], "../v1"])
def test_only_a_published_version_can_be_activated(directory: Path, version: str) -> None:
    activate(directory, "v1")
    with pytest.raises(PolicyRejected, match="not published"):
        activate(directory, version)
    assert active(directory) == directory / f"{ONE}.tar.gz"


def test_a_version_can_be_named_by_its_whole_revision(directory: Path) -> None:
    assert activate(directory, TWO) == TWO


async def test_a_version_whose_file_is_gone_is_not_served_and_the_old_one_stays(directory: Path) -> None:
    activate(directory, "v1")
    serving = served(directory)
    async with asking(serving) as client:
        assert (await client.get(RESOURCE)).text == ONE
        (directory / f"{TWO}{SUFFIX}").unlink()
        activate(directory, "v2")
        await until(lambda: fault_of(serving))
        assert serving.fault == f"{directory}/{TWO}{SUFFIX}: gone"
        assert (await client.get(RESOURCE)).text == ONE


async def fault_of(serving: Served) -> str:
    await serving.look()
    return serving.fault


async def test_what_was_never_read_is_503_and_named(directory: Path) -> None:
    activate(directory, "v1")
    (directory / "activations/00000001.json").write_text("{}")
    serving = served(directory)
    async with asking(serving) as client:
        assert (await client.get(RESOURCE)).status_code == 503
    assert "activations/00000001.json: Object missing required field" in serving.fault


async def test_nothing_is_served_that_cannot_be_told(directory: Path) -> None:
    told: list[int] = []

    def tell(activation: Activation) -> None:
        told.append(activation.number)
        if activation.number == 2 and told.count(2) < 3:
            raise EvidenceUnavailable("outbox: disk full")

    activate(directory, "v1")
    serving = served(directory, tell)
    async with asking(serving) as client:
        assert (await client.get(RESOURCE)).text == ONE
        activate(directory, "v2")
        await until(lambda: fault_of(serving))
        assert (await client.get(RESOURCE)).text == ONE
        await until(lambda: told.count(2) == 3 or fault_of(serving))
        assert (await client.get(RESOURCE, headers=polling(f'"{ONE}"', 10))).text == TWO
    assert told == [1, 2, 2, 2]
    assert serving.fault == ""


async def test_every_activation_is_told_though_only_the_last_one_is_served(directory: Path) -> None:
    told: list[int] = []
    serving = served(directory, lambda activation: told.append(activation.number))
    activate(directory, "v1")
    await serving.look()
    for version in ("v2", "v1", "v2"):
        activate(directory, version)
    async with asking(serving) as client:
        assert (await client.get(RESOURCE, headers=polling(f'"{ONE}"', 10))).text == TWO
    assert told == [1, 2, 3, 4]


def test_opa_is_told_one_signed_bundle_and_no_tcp(tmp_path: Path) -> None:
    config = opa_config("http://127.0.0.1:1", "PEM", persist=tmp_path)
    assert list(config["bundles"]) == ["aegis"]
    assert config["bundles"]["aegis"]["signing"]["keyid"] in config["keys"]
    assert config["bundles"]["aegis"]["persist"] is True
    assert "persist" not in opa_config("http://127.0.0.1:1", "PEM")["bundles"]["aegis"]
    command = opa_command(tmp_path / "opa.sock", tmp_path / "opa.json")
    assert [command[at + 1] for at, word in enumerate(command) if word == "--addr"] == [
        f"unix://{tmp_path}/opa.sock"
    ]
