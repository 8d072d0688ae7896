#!/usr/bin/env bash
# Installs Pax on a machine with an NVIDIA GPU, and measures it there, all within twelve minutes:
#     OUT=gpu-results bash launch/benchmark/gpu.sh
# $OUT then holds gpu.md (tables), gpu.json (every repeat) and log.txt. Needs Python >= 3.11 with pip, and a driver.
# Further arguments are flags of launch.benchmark, as in --only=agreement.
#     OUT      folder for what was measured; default: gpu-results, here
#     MINUTES  for installing and measuring; default: 12
#     PYTHON   which Python; default: python3
#     INSTALL  0: PYTHON has Pax and JAX for the GPU already
#     REHEARSE 1: CPU devices and small sizes, to see that it runs
# Without a network, pip takes wheels from a folder: PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels.
set -euo pipefail

out=${OUT:-gpu-results} minutes=${MINUTES:-12} python=${PYTHON:-python3}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    printf 'Error: %s\n' "$1" >&2
    exit 1
}

[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "MINUTES is '$minutes': give a whole number of minutes"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than Python 3.11, or missing: set PYTHON to a newer one"
rehearse=() extra=cuda
if [[ ${REHEARSE:-0} == 1 ]]; then
    rehearse=(--rehearse) extra=
else
    nvidia-smi >"$out/nvidia-smi.txt" 2>&1 ||
        fail "nvidia-smi finds no GPU here: use a machine with one, or REHEARSE=1"
fi

if [[ ${INSTALL:-1} != 0 ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    printf 'Installing with %s\n' "$("$python" --version)"
    "$python" -m venv "$work/venv" || fail "$python cannot make an environment: install python3-venv"
    python=$work/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}" ||
        fail "Pax could not be installed, see above"
    printf 'Installed in %d s\n' "$SECONDS"
fi

# What a process that hangs leaves undone is told, and the tables so far are there.
left=$((minutes * 60 - SECONDS - 30))
((left >= 60)) || fail "installing took $SECONDS s: give more MINUTES"
code=0
timeout --foreground --signal=INT --kill-after=30 "$((left + 30))" \
    "$python" -m launch.benchmark --suite=gpu ${rehearse[@]+"${rehearse[@]}"} --minutes="$(awk "BEGIN {print $left / 60}")" \
    --output="$out/gpu.json" --markdown="$out/gpu.md" "$@" 2>&1 | tee -i "$out/log.txt" || code=${PIPESTATUS[0]}
printf 'Done in %d s, see %s\n' "$SECONDS" "$out"
exit "$code"
