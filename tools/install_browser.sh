#!/usr/bin/env bash
# The tests of pages need a browser. Where there is none it is installed, if this is root on a
# system with apt-get; else those tests are skipped by name, which on CI is a failure.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no chromium here: the tests of pages will be skipped (install it to run them)" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } >/dev/null; then
    echo "chromium could not be installed: the tests of pages will be skipped" >&2
fi
