"""Sharded models, drawn by two and by four processes: each its own part, the whole the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 240  # seconds until a process that hangs is ended


def play(scenario: str, world: int, folder: Path) -> None:
    """Run a scenario in `world` processes, and show what those that failed have said."""
    meeting = folder / "meeting"
    command = [sys.executable, str(HERE / "sharded_worker.py"), scenario]
    setting = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(meeting)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=setting,
        )
        for rank in range(world)
    ]
    try:
        said = [each.communicate(timeout=PATIENCE)[0] for each in processes]
    finally:
        for each in processes:
            each.kill()
    failed = [
        f"process {rank}:\n{text}"
        for rank, (each, text) in enumerate(zip(processes, said, strict=True))
        if each.returncode
    ]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("scenario", ["fsdp", "orthogonal"])
def test_gathered_shards_are_the_unsharded_draw(scenario, world, tmp_path):
    play(scenario, world, tmp_path)


@pytest.mark.parametrize("scenario", ["hybrid", "tensor_parallel", "every_placement"])
def test_meshes_of_two_axes_give_the_unsharded_draw(scenario, tmp_path):
    play(scenario, 4, tmp_path)


def test_a_parameter_whose_shards_are_addends_is_refused(tmp_path):
    play("partial", 2, tmp_path)


def test_a_process_that_disagrees_is_found_before_anything_is_drawn(tmp_path):
    play("disagreement", 2, tmp_path)


def test_a_process_that_disagrees_on_a_mesh_of_two_axes_is_told_of_by_all(tmp_path):
    play("disagreement_on_a_mesh", 4, tmp_path)


def test_without_a_seed_all_processes_take_the_first_ones(tmp_path):
    play("shared_seed", 2, tmp_path)


def test_a_check_of_a_sharded_model_is_refused_in_words(tmp_path):
    play("checked", 2, tmp_path)


def test_a_sharded_training_is_monitored_by_its_first_process(tmp_path):
    play("monitored", 2, tmp_path)
