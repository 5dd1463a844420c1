"""Compare the kernel of another compiler or processor with the specification, to the bit.

Needs no Python there, only a way to run a program:

    python tools/check_elsewhere.py --cc clang
    python tools/check_elsewhere.py --cc "aarch64-linux-gnu-gcc -static" --run qemu-aarch64
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from xavier._types.laws import Constant, Law, Normal, Sparse, TruncatedNormal, Uniform
from xavier.bits import DTYPES, Key, fill
from xavier.bits._samplers import DOUBLE, SINGLE, sampler

TOOLS = Path(__file__).parent
SOURCE = TOOLS.parent / "src" / "xavier" / "bits" / "_kernel" / "c"
STRICT = "-O3 -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra"
KINDS = ("filled", "uniform", "normal", "truncated", "sparse", "words")
KEY = Key(3, "elsewhere")
CASES = 1500


def main() -> None:
    """Build, run every case, and say how many agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cc", default="cc", help="the compiler, with its options")
    parser.add_argument("--run", default="", help="what runs a program of that machine here")
    parser.add_argument("--loops", type=int, default=0, help="0 the baseline, 1 AVX2, 2 AVX-512")
    options = parser.parse_args()
    chance = random.Random(options.loops)
    cases = [_case(chance) for _ in range(CASES)]
    with tempfile.TemporaryDirectory() as folder:
        program = _build(shlex.split(options.cc), Path(folder))
        lines = [_line(case, options.loops) for case in cases]
        found = subprocess.run(
            [*shlex.split(options.run), program],
            input="\n".join(lines).encode(),
            capture_output=True,
            check=True,
        ).stdout
    os.environ["XAVIER_ISA"] = "numpy"
    at = 0
    for law, dtype, first, count in cases:
        out = np.empty(count, "uint16" if dtype == "bfloat16" else dtype)
        fill(out, law, key=KEY, start=first, dtype=dtype)
        assert found[at : at + out.nbytes] == out.tobytes(), (law, dtype, first, count)
        at += out.nbytes
    assert at == len(found)
    print(f"{len(cases)} fills by {options.cc}, loops {options.loops}: all equal to the bit")


def _build(compiler: list[str], folder: Path) -> str:
    strict = [*shlex.split(STRICT), f"-I{SOURCE}"]
    machine = subprocess.run(
        [*compiler, "-dumpmachine"], capture_output=True, text=True, check=True
    )
    wide = "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512"
    flags = {"baseline": ""}
    if machine.stdout.startswith("x86_64"):
        flags |= {"avx2": "-mavx2", "avx512": wide}
    objects = []
    for name, extra in flags.items():
        objects.append(str(folder / f"{name}.o"))
        where = [f"-DINSTRUCTIONS={name}", "-c", str(SOURCE / "laws.c"), "-o", objects[-1]]
        subprocess.run([*compiler, *strict, *extra.split(), *where], check=True)
    rest = [str(SOURCE / f"{name}.c") for name in ("fill", "instructions", "threads")]
    avx = ["-DHAVE_AVX"] if len(flags) > 1 else []
    program = str(folder / "driver")
    driver = [str(TOOLS / "kernel_driver.c"), *rest, *objects, "-o", program, "-lm", "-lpthread"]
    subprocess.run([*compiler, *strict, *avx, *driver], check=True)
    return program


def _case(chance: random.Random) -> tuple[Law, str, int, int]:
    size = 2.0 ** chance.choice([0, -6, chance.uniform(-150, 120), chance.uniform(-20, 20)])
    mean = chance.choice([0.0, size, -3 * size, chance.uniform(-1, 1)])
    cut = chance.choice([1e-3, 0.5, 2.0, 2.06, 2.07, 3.0, 6.0, 50.0])
    law = chance.choice(
        [
            Uniform(mean, mean + size),
            Normal(mean, size),
            TruncatedNormal(mean, size, cut),
            Sparse(chance.choice([0.0, 0.1, 0.9, 1.0]), size),
            Constant(mean),
        ]
    )
    first = chance.choice([0, 2**33, 2**34, 2**63, 2**64]) + chance.randint(-5000, 5000)
    count = chance.randint(1, 3000)
    return law, chance.choice(DTYPES), min(max(first, 0), 2**64 - count), count


def _line(case: tuple[Law, str, int, int], loops: int) -> str:
    law, dtype, first, count = case
    drawn = sampler(law, DOUBLE if dtype == "float64" else SINGLE)
    threshold = int(drawn.numbers[-1]) if drawn.kind == "sparse" else 0
    numbers = [float(number).hex() for number in (*drawn.numbers, 0, 0, 0, 0)[:5]]
    place = KINDS.index(drawn.kind), DTYPES.index(dtype), 1 + count % 3, first, count
    return " ".join(map(str, (loops, *place, *KEY.words, *numbers, threshold)))


if __name__ == "__main__":
    main()
