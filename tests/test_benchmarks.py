"""The benchmarks run, and refuse a contender that draws from another law."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMALL = ["--elements", "65536", "--rounds", "1", "--side", "64"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_command_prints_the_table_and_writes_it_as_json(tmp_path: Path) -> None:
    found = run("-m", "benchmarks", *SMALL, "--json", str(tmp_path / "result.json"))
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert {"machine", "settings", "rates", "ratios", "shards", "agreement"} == result.keys()
    for line in ("uniform / torch", "truncated, 1 thread to all", "1/4 columns", "processor"):
        assert line in found.stdout


def test_a_contender_of_another_law_fails_the_run() -> None:
    code = (
        "from benchmarks import __main__, contenders\n"
        "from xavier.laws import Normal\n"
        "contenders.LAWS['normal'] = Normal(0.0, 1.05)\n"
        f"__main__.main({SMALL!r})\n"
    )
    found = run("-c", code)
    assert found.returncode != 0
    assert "normal/torch and ours are not of one law" in found.stderr


def test_the_quality_tests_pass_the_stream_and_fail_a_bad_generator() -> None:
    code = (
        "from benchmarks import quality, stream_tests, streams\n"
        "for name in ('sequential', 'bad: 4 rounds'):\n"
        "    counts = stream_tests.Counts()\n"
        "    counts.add(streams.STREAMS[name]()(0))\n"
        "    again = stream_tests.Counts.resumed(counts.state())\n"
        "    print(quality._failed(again.results()))\n"
    )
    found = run("-c", code)
    assert found.stdout.split() == ["False", "True"], found.stderr
