"""`python -m waxwork` is the command `waxwork`."""

import sys

from ._command import main

sys.exit(main())
