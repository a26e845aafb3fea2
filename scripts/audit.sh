#!/usr/bin/env bash
# Looks for insecure code (bandit) and for installed packages with known flaws (pip-audit, which asks PyPI).
# Needs: pip install 'bts-tune[audit]'. Ends with 1 where either finds something.
set -uo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python}"
failed=0
"$python" -m bandit --quiet --recursive --configfile pyproject.toml bts_tune || failed=1
# The checkout itself is no package of PyPI's.
"$python" -m pip_audit --skip-editable --progress-spinner off || failed=1
exit "$failed"
