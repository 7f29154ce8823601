"""Attack: put other policy under OPA by taking the bundle server's port or changing a published file."""

from __future__ import annotations

import hmac
import io
import json
import stat
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.errors import Denied, StoreUnavailable
from authz.followers.bundles import opa_config
from authz.policy.making import KEY_ID
from authz.policy.signing import ensure_signing_key, public_key
from authz.policy.store import DirectoryStore
from authz.policy.versions import SUFFIX, Versions
from authz.testing import a_request
from authz.values import Reason
from tests.policy.bundles import build_bundle
from tests.policy.opa import (
    ALLOW,
    DENY,
    OpaProcess,
    activate,
    bundle_server,
    decide,
    listed,
    opa_pulling,
    signing_key,
    started,
    until,
    version_of,
    write,
)

REVISION = f"v1+{'0' * 64}"
ALLOW_ALL = {"aegis/decision.rego": f"package aegis\n\ndecision := {ALLOW}"}


def repack(file: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Rewrite every member of a bundle; None leaves it out."""
    out = io.BytesIO()
    with tarfile.open(file, "r:gz") as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            data = change(member.name, old.extractfile(member).read())  # type: ignore[union-attr]
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    file.write_bytes(out.getvalue())


def unsigned(name: str, data: bytes) -> bytes | None:
    return None if name.endswith(".signatures.json") else data


def rewritten(name: str, data: bytes) -> bytes:
    return data.replace(b'"deny"', b'"allow"')


def relabelled(name: str, data: bytes) -> bytes:
    return data.replace(b'"facts"', b'"sfact"') if name.endswith(".manifest") else data


def resigned(algorithm: str, key: bytes) -> Callable[[str, bytes], bytes | None]:
    """The signature replaced by one that needs no private key: none, or a MAC by what everybody has."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith(".signatures.json"):
            return data
        payload = json.loads(data)["signatures"][0].split(".")[1].encode()
        header = json.dumps({"kid": KEY_ID, "typ": "JWT", "alg": algorithm}).encode()
        message = urlsafe_b64encode(header).rstrip(b"=") + b"." + payload
        mac = hmac.digest(key, message, "sha256") if algorithm == "HS256" else b""
        token = message + b"." + urlsafe_b64encode(mac).rstrip(b"=")
        return json.dumps({"signatures": [token.decode()]}).encode()

    return change


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256"])
async def test_opa_refuses_a_signature_that_needs_no_private_key(tmp_path: Path, algorithm: str) -> None:
    """Over the very files that the bundle holds."""
    version = version_of(tmp_path, DENY)
    repack(version.file, resigned(algorithm, public_key(signing_key()).encode()))
    await refused(version.file.parent)


@pytest.mark.parametrize("tamper", [unsigned, rewritten, relabelled])
async def test_opa_refuses_a_bundle_that_is_not_what_was_signed(
    tmp_path: Path, tamper: Callable[[str, bytes], bytes | None]
) -> None:
    version = version_of(tmp_path, DENY)
    repack(version.file, tamper)
    await refused(version.file.parent)


async def test_opa_refuses_a_bundle_signed_with_another_key(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    ensure_signing_key(other)
    source = write(tmp_path / "source", ALLOW_ALL)
    build_bundle(source, tmp_path / "bundles", version="v1", signing_key=other)
    await refused(tmp_path / "bundles")


async def refused(directory: Path) -> None:
    """With only this bundle to be had, OPA says why, has no policy, and nothing is allowed."""
    activate(directory, "v1")
    async with opa_pulling(directory) as process:
        await until(lambda: "Bundle load failed" in process.log.read_text())
        assert await process.revision() == ""
        async with started(process.socket) as policy:
            with pytest.raises(Denied) as caught:
                await decide(policy, a_request())
    assert caught.value.reason is Reason.ENGINE_UNAVAILABLE


async def test_a_tampered_update_leaves_the_signed_version_in_force(tmp_path: Path) -> None:
    one = version_of(tmp_path, DENY, "v1")
    two = version_of(tmp_path, f"decision := {ALLOW}", "v2")
    repack(two.file, unsigned)
    activate(one.file.parent, "v1")
    async with bundle_server(one.file.parent) as url:
        process = OpaProcess()
        await process.start_with(opa_config(url, public_key(signing_key()), wait_s=5))
        await until(lambda: is_active(process, one.revision))
        activate(one.file.parent, "v2")
        await until(lambda: "Bundle load failed" in process.log.read_text())
        async with started(process.socket) as policy:
            verdict = await decide(policy, a_request())
        await process.stop()
    assert (verdict.decision, verdict.policy_version) == ("deny", "v1")


async def is_active(process: OpaProcess, revision: str) -> bool:
    return bool(await process.revision() == revision)


def test_an_activation_that_points_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    directory = tmp_path / "bundles"
    listed(directory, REVISION, b"x")
    activate(directory, "v1")
    (tmp_path / f"{REVISION}{SUFFIX}").write_bytes(b"y")
    (file,) = (directory / "activations").iterdir()
    file.write_text(file.read_text().replace("v1+", "../v1+"))
    with pytest.raises(StoreUnavailable, match="not activation 1"):
        Versions(DirectoryStore(directory)).active()


async def restarted_without_server(tmp_path: Path, tamper: bool) -> tuple[str, str]:
    """An OPA that kept its bundle on disk starts again while the bundle server is down; what it then has
    active, and its log.
    """
    version = version_of(tmp_path, DENY)
    activate(version.file.parent, "v1")
    keep, process = tmp_path / "keep", OpaProcess()
    try:
        async with bundle_server(version.file.parent) as url:
            config = opa_config(url, public_key(signing_key()), wait_s=1, persist=keep)
            await process.start_with(config)
            await until(lambda: is_active(process, version.revision))
            (kept,) = await until_found(keep)
            await process.stop()
        if tamper:
            repack(kept, rewritten)
        await process.start_with(config)
        await until(lambda: "connection refused" in process.log.read_text())
        return await process.revision(), process.log.read_text()
    finally:
        await process.stop()


async def until_found(directory: Path) -> list[Path]:
    await until(lambda: list(directory.rglob("*.tar.gz")))
    return list(directory.rglob("*.tar.gz"))


async def test_a_kept_bundle_serves_while_the_bundle_server_is_down(tmp_path: Path) -> None:
    revision, _ = await restarted_without_server(tmp_path, tamper=False)
    assert revision.startswith("v1+")


async def test_a_kept_bundle_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    revision, log = await restarted_without_server(tmp_path, tamper=True)
    assert revision == ""
    assert "digest mismatch" in log


async def test_opa_listens_on_its_owners_socket_and_nowhere_else(tmp_path: Path) -> None:
    version = version_of(tmp_path, DENY)
    activate(version.file.parent, "v1")
    async with opa_pulling(version.file.parent) as process:
        assert stat.S_IMODE(process.socket.stat().st_mode) == 0o700
        inodes = {
            link.readlink().name for link in Path(f"/proc/{process.pid}/fd").iterdir() if link.is_symlink()
        }
        listening = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        ]
        assert not [fields for fields in listening if f"socket:[{fields[9]}]" in inodes]
