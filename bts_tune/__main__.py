"""`python -m bts_tune`."""

import sys

from bts_tune.cli import main

sys.exit(main())
