"""Level 4 of verification: each decision put to the policy version that it names comes out the same.

In: Recorded, Judges. Out: Repeated, with the first fault by log, line and seq. Called by `aegis verify` once
everything below level 4 held: facts are what was disclosed under a signed digest, the version is what its
digest says, and the rest is OPA's word. A decision that cannot be put to it is counted, by why: an erased
explanation is no fault.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from authz.ledger.report import Fault, Repeated
from authz.replay.judges import Judges
from authz.replay.recorded import Recorded, Why
from authz.replay.replaying import Replayed, replay


def repeat(found: Iterable[Recorded], judges: Judges) -> Repeated:
    """Raises what `found` raises, OSError."""
    decisions = same = faults = 0
    left_out: Counter[str] = Counter()
    first: Fault | None = None
    for each in replay(found, judges):
        decisions += 1
        if fault := _fault(each):
            faults += 1
            first = first or fault
        elif each.why is not None:
            left_out[str(each.why)] += 1
        else:
            same += 1
    return Repeated(decisions, same, dict(left_out.most_common()), faults, first)


def _fault(each: Replayed) -> Fault | None:
    recorded = each.recorded
    if each.why is Why.VERSION_ALTERED:
        what = f"decision {recorded.decision_id}: {each.detail}"
    elif each.differs:
        difference = each.differs[0]
        before, now = json.dumps(difference.recorded), json.dumps(difference.now)
        what = (
            f"decision {recorded.decision_id} comes out otherwise by {each.under}: "
            f"{difference.member} recorded {before}, now {now}"
        )
    else:
        return None
    return Fault(f"{recorded.log}: {what}", str(recorded.file), recorded.line, recorded.seq)
