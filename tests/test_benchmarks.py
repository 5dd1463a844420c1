"""The benchmarks run, and refuse a contender that draws from another law."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


FEW = ["--draws", "1e6", "--tails", "1e7", "--names", "16"]


def test_the_laws_are_drawn_well_and_a_law_that_is_not_fails(tmp_path: Path) -> None:
    found = run("-m", "benchmarks.goodness", *FEW, "--json", str(tmp_path / "result.json"))
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert min(result["p"].values()) >= result["fails below"] > 0
    code = (
        "from benchmarks import goodness\n"
        "from xavier.laws import Normal\n"
        "goodness.LAWS['normal'] = Normal(0.0, 1.05), goodness.LAWS['normal'][1]\n"
        f"goodness.main({FEW!r})\n"
    )
    found = run("-c", code)
    assert found.returncode != 0
    assert "of another law: normal, float32: 1e+06" in found.stderr
    assert "uniform" not in found.stderr


def test_whole_models_are_measured_and_a_checkpoint_is_written(tmp_path: Path) -> None:
    small = ["-m", "benchmarks.models", "--small", "--rounds", "1"]
    found = run(*small, "--json", str(tmp_path / "result.json"), "init")
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    spent = result["profile"]
    assert spent["whole"] > spent["draw"] > spent["draw, in the kernel"] > 0
    assert result["rounds"][0]["framework"]["weights"] == result["rounds"][0]["xavier"]["weights"]
    assert run(*small, "checkpoint", str(tmp_path / "llama")).returncode == 0
    assert (tmp_path / "llama" / "model.safetensors").stat().st_size > 2 * 10**7


def test_a_check_is_timed_beside_a_plain_pass(tmp_path: Path) -> None:
    small = ["-m", "benchmarks.checks", "--small", "--rounds", "1"]
    found = run(*small, "--json", str(tmp_path / "result.json"))
    assert found.returncode == 0, found.stderr
    (costs,) = json.loads((tmp_path / "result.json").read_text())["models"].values()
    assert costs["seconds, processor"]["check"] > costs["seconds, processor"]["plain"] > 0
    assert costs["times plain, wall"]["plain"] == costs["memory, times plain"]["plain"] == 1
    assert costs["profile"]["__init__.py:check"] == max(costs["profile"].values()) > 0


def test_the_cost_of_a_monitor_is_measured(tmp_path: Path) -> None:
    small = ["-m", "benchmarks.monitoring", "--small", "--rounds", "1"]
    found = run(*small, "--json", str(tmp_path / "result.json"))
    assert found.returncode == 0, found.stderr
    (costs,) = json.loads((tmp_path / "result.json").read_text())["models"].values()
    between = costs["seconds that a step between samples adds"] / costs["seconds"]["plain"]
    sampled = costs["a sampled step over a plain one"] - 1
    assert costs["amortized cost"] == pytest.approx((sampled + 99 * between) / 100)


def test_the_recorded_cost_of_a_monitor_is_below_two_percent() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "monitoring.json").read_text())
    assert result["every"] == 100
    assert len(result["models"]) == 2
    page = (ROOT / "docs" / "monitor.md").read_text()
    for name, each in result["models"].items():
        ratio, cost = each["a sampled step over a plain one"], each["amortized cost"]
        assert 0 < cost < 0.02
        assert (
            f"| {name.replace(' x ', ' × ')} | {ratio:.2f} | {cost:.2%} |".replace("%", " %")
            in page
        )
