"""The running deployment that most end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The default policy behind the reference gateway, shared by the tests of a module."""
    with running(tmp_path_factory.mktemp("stack")) as started:
        yield started
