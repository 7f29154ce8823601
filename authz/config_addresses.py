"""Addresses in the settings: `HOST:PORT`, and `unix:PATH` where a socket is served."""

from __future__ import annotations

import re
import socket
from typing import Annotated

from pydantic import AfterValidator

_HOST_PORT = re.compile(r"(?:[^][:\s]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def _host_port(text: str) -> str:
    """Ports beyond 65535 must not reach gRPC: it takes them modulo 65536, and listens elsewhere."""
    found = _HOST_PORT.fullmatch(text)
    if not found or int(found[1]) > 65535:
        raise ValueError("not HOST:PORT with a port up to 65535")
    return text


def _check_address(text: str) -> str:
    if not text.startswith("unix:"):
        return _host_port(text)
    if len(text) == 5 or not text.isprintable():
        raise ValueError("no path after unix:")
    return text


def split_host_port(text: str) -> tuple[str, int, socket.AddressFamily]:
    """Of `HOST:PORT` or `[IPv6]:PORT`: host without brackets, port, and the family to listen in.

    Raises ValueError for what the settings would refuse.
    """
    host, _, port = _host_port(text).rpartition(":")
    host = host.strip("[]")
    return host, int(port), socket.AF_INET6 if ":" in host else socket.AF_INET


HostPort = Annotated[str, AfterValidator(_host_port)]
HostPortOrNone = Annotated[str, AfterValidator(lambda text: text and _host_port(text))]
CheckAddress = Annotated[str, AfterValidator(_check_address)]
AddressOrNone = Annotated[str, AfterValidator(lambda text: text and _check_address(text))]
