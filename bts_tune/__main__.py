"""`python -m bts_tune`."""

import sys

from bts_tune.cli.main import main

sys.exit(main())
