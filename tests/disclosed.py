"""Decisions with disclosures in a worker's ledger, as the pipeline gives them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from authz.config_evidence import Disclosures
from authz.ledger.disclosures import form, place
from authz.ledger.disclosures.vault import Vault, vault_of
from authz.ledger.writer import LedgerWriter
from tests.workers import Worker, decision


def keeps(worker: Worker) -> Worker:
    """Has `worker` keep disclosures when it is opened next."""
    worker.settings = worker.settings.model_copy(update={"disclosures": Disclosures(facts=True)})
    return worker


def explained(number: int, values: dict[str, Any], **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A decision's members, and a disclosure of each of `values`, which its `_sd` names."""
    texts = tuple(form.make(name, value, os.urandom(16)) for name, value in values.items())
    return decision(number, **members) | {"_sd": sorted(map(form.digest, texts))}, texts


def append(ledger: LedgerWriter, number: int, values: dict[str, Any], **members: Any) -> asyncio.Future[Any]:
    said, texts = explained(number, values, **members)
    return ledger.append("decision", said, disclosures=texts)


async def decide(worker: Worker, count: int, first: int = 0) -> None:
    """`count` more decisions: of agents a, b and c in turn, about person-<number>."""
    async with worker.running() as ledger:
        await asyncio.gather(*(_decide(ledger, number) for number in range(first, first + count)))


def _decide(ledger: LedgerWriter, number: int) -> asyncio.Future[Any]:
    values = {"facts": {"input": {"of": f"person-{number}"}, "masked": []}, "client_address": "192.0.2.1"}
    return append(ledger, number, values, agent_id="abc"[number % 3])


def file(worker: Worker, epoch: int = -1, number: int = 0) -> Path:
    return place.file(worker.epochs[epoch], number)


def vault(worker: Worker) -> Vault:
    return vault_of(worker.settings)
