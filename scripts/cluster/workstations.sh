#!/usr/bin/env bash
# Several workstations as one cluster. On the first, then on each of the others, then a run on any of them:
#   scripts/cluster/workstations.sh head
#   RAY_AUTH_TOKEN=… scripts/cluster/workstations.sh node FIRST:6379
#   bts-tune --space extended --data DIR --address auto
# Each ends its own part with: ray stop
# DRY_RUN=1 prints what would be done.
set -euo pipefail

usage() {
    echo "usage: $0 head | node HOST:PORT" >&2
    exit 2
}

do_it() {
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

# Whoever reaches an open port of the cluster runs code on it: only those with the token do.
export RAY_AUTH_MODE=token

case ${1:-} in
head)
    [ $# -eq 1 ] || usage
    if [ -z "${DRY_RUN:-}" ]; then
        ray get-auth-token --generate >/dev/null 2>&1 || true # it lies in ~/.ray/auth_token, where bts-tune finds it
    fi
    do_it ray start --head --port="${RAY_PORT:-6379}" --disable-usage-stats
    echo "On each of the other workstations: RAY_AUTH_TOKEN=\$(what 'ray get-auth-token' prints here) $0 node $(hostname):${RAY_PORT:-6379}"
    ;;
node)
    [ $# -eq 2 ] || usage
    do_it ray start --address="$2" --disable-usage-stats
    ;;
*)
    usage
    ;;
esac
