"""`python -m bts_tune`."""

import sys

from bts_tune.imports import leave_out_working_folder

leave_out_working_folder()  # before anything else is imported

from bts_tune.cli.main import main  # noqa: E402

sys.exit(main())
