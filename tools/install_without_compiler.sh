#!/usr/bin/env bash
# Install the package in an empty environment with no compiler in reach, and draw: it must work
# with NumPy, and say so. The same installation told to build the kernel must fail.
set -euo pipefail
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/env"
mkdir "$place/source"
git ls-files -z | xargs -0 cp --parents --target-directory "$place/source"

alone() {
    env --unset=CC --unset=CXX PATH="$place/env/bin" "$place/env/bin/python" "$@"
}
install="-m pip install --quiet --disable-pip-version-check -c constraints.txt"
# shellcheck disable=SC2086
alone $install "$place/source"
said=$(alone -W error -c '
import xavier
drawn = xavier.draw(xavier.Normal(0.0, 1.0), (3,), seed=0, name="w")
assert drawn.tobytes() == xavier.draw(xavier.Normal(0.0, 1.0), (3,), seed=0, name="w").tobytes()
fine = xavier.Verdict.HEALTHY
empty = xavier.Signal(ops=(), weights=())
page = xavier.report.html(xavier.Check(fine, (fine,), "", "", "", (), empty))
assert page.startswith("<!doctype html>")  # its template, styles and scripts are in the wheel
print("drew", drawn)' 2>&1)
echo "$said"
test "$(grep -c 'the compiled kernel is missing' <<<"$said")" = 1
# shellcheck disable=SC2086
if alone $install --force-reinstall --no-deps \
    --config-settings=cmake.define.XAVIER_KERNEL=ON "$place/source" >"$place/log" 2>&1; then
    echo "the kernel was asked for and not built, and nothing failed" >&2
    exit 1
fi
grep -q 'XAVIER_KERNEL is ON, but there is no C compiler' "$place/log"
echo "without a compiler: NumPy draws; with XAVIER_KERNEL=ON the installation fails"
