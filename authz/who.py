"""Who runs this program, as the control log names people: by what the operating system says of them."""

from __future__ import annotations

import os
import pwd


def runs_this() -> str:
    """The user's name, or `uid N` where there is none (containers)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
