"""The command `waxwork`, which this package carries."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command with the arguments of this process, and return its exit code."""
    os.environ["CANDLE_NUM_THREADS"] = "1"
    # Python's own handler would only set a flag that nothing reads until the command ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from . import _native

    return _native.command(["waxwork", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
