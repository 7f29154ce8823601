"""A real S3 server with object lock in a process of its own: `versitygw`, which others wrote.

with s3_server(tmp_path) as server:
    server.bucket("anchors-of-ours")               with object lock
    settings = server.settings("anchors-of-ours")  of our anchor
    server.client                                  boto3, with the rights of whoever owns the bucket
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from authz.config_anchors import S3Anchor
from authz.up.deployment import program

ACCESS, SECRET = "test-access-key", "test-secret-key"
STARTS_WITHIN_S = 30


class S3Server:
    """`endpoint` is where it is."""

    def __init__(self, directory: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.directory = directory
        objects, versions = directory / "objects", directory / "versions"
        for path in (objects, versions):
            path.mkdir(parents=True)
        self._command = [str(program("versitygw")), "--port", f"127.0.0.1:{port}"]
        self._command += ["--access", ACCESS, "--secret", SECRET, "--quiet"]
        self._command += ["posix", "--versioning-dir", str(versions), str(objects)]
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def start(self) -> None:
        """Returns once it answers."""
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        for _ in range(STARTS_WITHIN_S * 20):
            if self.answers():
                return
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(log.read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def bucket(self, name: str, *, locked: bool = True) -> None:
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)

    def settings(self, bucket: str, **more: Any) -> S3Anchor:
        file = self.directory / "credentials"
        file.touch(mode=0o600)
        file.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
        return S3Anchor.model_validate(
            {"bucket": bucket, "endpoint": self.endpoint, "credentials": file, "timeout_s": 20} | more
        )

    def versions(self, bucket: str, key: str) -> list[str]:
        """The ids, the oldest first."""
        listed = self.client.list_object_versions(Bucket=bucket, Prefix=key)
        return [each["VersionId"] for each in reversed(listed.get("Versions", ()))]

    def answers(self) -> bool:
        try:
            self.client.list_buckets()
        except BotoCoreError:
            return False
        return True


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = S3Server(directory, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
