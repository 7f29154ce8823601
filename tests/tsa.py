"""A time-stamping authority: `openssl ts` with a certificate of an authority of its own.

tsa = Tsa(tmp_path)
response = tsa.stamp(message)                     the DER of a TimeStampResp
openssl ts -verify -data ... -CAfile tsa.root     what anybody can check it with
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography import x509

from tests.outside import Asked
from tests.pki import Authority

# Without `certs`: with it openssl puts an unsorted SET into its answer, which strict parsers refuse.
CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {directory}/serial
signer_cert = {certificate}
signer_key = {key}
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = {accuracy}
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Tsa:
    """Files in `directory`; `root` is the certificate to pin."""

    def __init__(self, directory: Path, name: str = "tsa", accuracy: str = "secs:1, millisecs:500") -> None:
        self._directory = directory / name
        self._directory.mkdir()
        authority = Authority(self._directory, f"{name}-root")
        signer = authority.sign_for_time_stamps(name)
        self._config = self._directory / "tsa.cnf"
        self._config.write_text(
            CONFIG.format(
                directory=self._directory,
                certificate=signer.certificate,
                key=signer.key,
                accuracy=accuracy,
            )
        )
        self.root = authority.own.certificate

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        return tuple(x509.load_pem_x509_certificates(self.root.read_bytes()))

    def reply(self, query: bytes) -> bytes:
        """The answer to a TimeStampReq."""
        asked, answered = self._directory / "query.tsq", self._directory / "reply.tsr"
        asked.write_bytes(query)
        _openssl("-reply", "-config", self._config, "-queryfile", asked, "-out", answered)
        return answered.read_bytes()

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        """For `tests.outside.serving`: RFC 3161 over HTTP (section 3.4)."""
        if asked.headers.get("content-type") != "application/timestamp-query":
            return 415, {}, b""
        return 200, {"Content-Type": "application/timestamp-reply"}, self.reply(asked.body)

    def stamp(self, message: bytes, digest: str = "sha256") -> bytes:
        """Asked for and answered with openssl's own client."""
        data, asked = self._directory / "message", self._directory / "own.tsq"
        data.write_bytes(message)
        _openssl("-query", "-data", data, f"-{digest}", "-cert", "-out", asked)
        return self.reply(asked.read_bytes())


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", "ts", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
