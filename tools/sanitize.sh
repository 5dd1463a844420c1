#!/usr/bin/env bash
# Build the kernel with the address and undefined-behaviour sanitizers in an environment of its
# own, and run the kernel's tests and the stream's under them. PyTorch's libraries leak at exit,
# as CPython does, so leaks are not reported.
set -euo pipefail
cd "$(dirname "$0")/.."

env=build/sanitize
test -d "$env" || "${PYTHON:-python3}" -m venv "$env"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    "$(grep '^torch==' constraints.txt)" --config-settings=cmake.define.XAVIER_KERNEL=ON \
    --config-settings=cmake.define.XAVIER_SANITIZE=ON --editable '.[test]'

export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
OMP_NUM_THREADS=1 "$env/bin/python" -m pytest -q -p no:cacheprovider \
    tests/test_kernel.py tests/test_kernel_running.py tests/test_bits.py tests/test_bits_errors.py "$@"
