#!/bin/sh
# What the real engines need beside Python packages, from Debian.
set -eu
[ "$(id -u)" = 0 ] || { echo "make test-engines needs root: it makes network namespaces" >&2; exit 1; }
for each in slurmctld slurmd sbatch munged ip nsenter openssl; do
  command -v "$each" >/dev/null || { missing=yes; break; }
done
[ -z "${missing-}" ] || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy slurm-wlm munge iproute2 util-linux openssl; }
