"""Run as a script (`programs.tethered`): `tether.py PARENT COMMAND...` becomes COMMAND, and ends with PARENT.

The kernel sends SIGTERM when the parent is gone, however it went: nothing is left behind by a parent that was
killed. Elsewhere than on Linux there is no such thing, and the command simply runs.
"""

from __future__ import annotations

import os
import sys

_SET_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG
_SIGTERM = 15


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, _SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it was gone before the kernel was told
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command is the caller's own, no shell


if __name__ == "__main__":
    main()
