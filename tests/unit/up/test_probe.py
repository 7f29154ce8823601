"""A probe says ready only for 200, and leaves no socket open."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from authz.up.places import LOOPBACK
from authz.up.probe import answers, get
from authz.up.upstream import Upstream


def test_an_answer_is_an_answer_only_with_200(tmp_path: Path) -> None:
    with Upstream(0) as upstream:
        assert answers(f"{LOOPBACK}:{upstream.port}", "/any")
        assert b'"/any"' in get(f"{LOOPBACK}:{upstream.port}", "/any")[1]
    assert not answers(f"{LOOPBACK}:{upstream.port}", "/any")


def test_a_socket_that_is_not_there_or_silent_does_not_answer(tmp_path: Path) -> None:
    assert not answers(tmp_path / "none.sock", "/")
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(tmp_path / "deaf.sock"))  # bound, not listening
        assert not answers(tmp_path / "deaf.sock", "/")


def test_a_peer_that_speaks_something_else_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as peer:
        address = f"{LOOPBACK}:{peer.getsockname()[1]}"

        def speak() -> None:
            connection, _ = peer.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"SSH-2.0-\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        assert not answers(address, "/")
        thread.join()
