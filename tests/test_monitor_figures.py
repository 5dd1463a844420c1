"""What `docs/monitor.md` says of figures 2 to 4 of the 2010 paper follows from recorded runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.glorot2010 import __main__ as command
from benchmarks.glorot2010 import drawing, training

NETS = json.loads(command.RECORDED.read_text())["networks"]
PAGE = " ".join((command.ROOT / "docs" / "monitor.md").read_text().split())


def layers(name: str, measure: str) -> list[list[float]]:
    return [layer[measure] for layer in NETS[name]["layers"]]


def beyond(layer: dict, bound: float) -> float:
    """Return the share of the values at the end that lie beyond a bound, of whole bins."""
    shares = drawing._shares(layer["at the end"])
    edges = [-1 + 2 * at / len(shares) for at in range(len(shares))]
    width = 2 / len(shares)
    return sum(
        share
        for share, left in zip(shares, edges, strict=True)
        if left >= bound - 1e-9 or left + width <= -bound + 1e-9
    )


def test_figure_2_the_top_sigmoid_layer_falls_into_saturation_and_leaves_it():
    means, error = layers("sigmoid", "mean"), NETS["sigmoid"]["error"]
    lowest = min(range(len(error)), key=lambda at: means[3][at])
    assert NETS["sigmoid"]["updates"][lowest] == pytest.approx(13_000, rel=0.01)
    assert (means[3][0], means[3][lowest]) == pytest.approx((0.48, 0.04), abs=0.005)
    assert means[0][lowest] < means[1][lowest] < means[2][lowest]
    assert [mean[lowest] for mean in means[:3]] == pytest.approx([0.47, 0.53, 0.68], abs=0.005)
    assert means[3][-1] > 5 * means[3][lowest]
    assert (error[lowest], error[-1]) == pytest.approx((0.90, 0.06), abs=0.005)
    first = layers("sigmoid", "saturated")[0]
    assert (first[lowest], first[-1]) == (0, pytest.approx(0.27, abs=0.005))


def test_figure_3_tanh_layers_saturate_one_after_the_other_and_softsign_layers_do_not():
    updates, passed = NETS["tanh"]["updates"], []
    for layer in layers("tanh", "p98"):
        passed.append(next(at for at, value in zip(updates, layer, strict=True) if value > 0.95))
    assert passed == sorted(set(passed)) == [866, 2134, 6588, 10341, 12956]
    assert ", ".join(f"{each:,}" for each in passed[:4]) + " and 12,956" in PAGE
    assert max(max(layer) for layer in layers("softsign", "p98")) < 0.95


def test_figure_4_tanh_ends_at_its_bounds_and_softsign_at_its_knees():
    tanh, softsign = NETS["tanh"]["layers"], NETS["softsign"]["layers"]
    assert beyond(tanh[0], 0.95) == pytest.approx(0.82, abs=0.006)
    last = drawing._shares(tanh[4]["at the end"])
    middle = max(range(10, 30), key=lambda at: last[at])
    assert abs(-1 + 2 * (middle + 0.5) / len(last)) < 0.1, "a mode at 0"
    assert last[middle] > 5 * last[8]
    assert last[middle] > 5 * last[31]
    knees = [beyond(layer, 0.5) - beyond(layer, 0.9) for layer in softsign[:4]]
    assert [min(knees), max(knees)] == pytest.approx([0.60, 0.76], abs=0.006)
    assert beyond(softsign[4], 0.5) - beyond(softsign[4], 0.9) < 0.35


def test_the_pictures_are_those_of_the_record(tmp_path):
    command.main(["draw", "--folder", str(tmp_path / "pictures")])
    drawn = {path.name: path.read_text() for path in (tmp_path / "pictures").iterdir()}
    assert drawn == {path.name: path.read_text() for path in command.DRAWN.iterdir()}
    assert len(drawn) == 3


@pytest.mark.filterwarnings("ignore::xavier.XavierWarning")  # the same bits, on purpose
def test_a_recording_begins_as_the_recorded_one_did():
    for network in training.NETWORKS:
        found, kept = training.trained(network, updates=12), NETS[network.name]
        assert found["updates"][-1] == 12
        # The heights of the start depend on the seed alone; what follows, on rounding as well.
        for ours, theirs in zip(found["layers"], kept["layers"], strict=True):
            for measure in ("mean", "std", "p98"):
                assert ours[measure][0] == pytest.approx(theirs[measure][0], abs=1e-3)


def test_moments_are_even_on_a_logarithmic_scale():
    assert list(training.moments(100))[:3] == [0, 1, 2]
    assert list(training.moments(100))[-1] == 100
    assert list(training.moments(1)) == [0, 1]
    assert Path(command.RECORDED).stat().st_size < 100_000
