"""What reading and fingerprinting a plan needs beside its fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from xavier._errors import LawError, PlanError, UnknownNameError
from xavier._types import codec, laws, text
from xavier._types.laws import Law
from xavier._types.region import Region, overlap


def header() -> dict[str, Any]:
    """Return what leads every plan document: its format, stream and package versions."""
    return {
        "format": codec.PLAN_FORMAT,
        "stream": codec.STREAM,
        "package": codec.package_version(),
    }


def check_header(reader: codec.Reader) -> None:
    """Take the header, and refuse a format or a stream that this version does not know."""
    name = reader.take("format", None)
    if name != codec.PLAN_FORMAT:
        raise PlanError(
            f"plan format is {name!r}, expected {codec.PLAN_FORMAT!r}",
            hint="is it a plan, and of this version of xavier-init? else make it anew",
        )
    stream = reader.take("stream")
    if stream != codec.STREAM:
        raise PlanError(
            f"stream version is {stream!r}, expected {codec.STREAM}",
            hint="the plan draws other bits than this version of xavier-init can",
        )
    reader.text("package")


def law(reader: codec.Reader) -> Law:
    """Take the law of an assignment."""
    return _law(reader, "law", reader.take("law"))


def follower_law(reader: codec.Reader) -> Law | None:
    """Take the law that the function that follows would give, if there is one."""
    given = reader.take("follower_law", None)
    return None if given is None else _law(reader, "follower_law", given)


def _law(reader: codec.Reader, key: str, given: Any) -> Law:
    try:
        return laws.from_dict(given)
    except (LawError, UnknownNameError) as error:
        raise PlanError(f"{reader.where}.{key}: {error.message}", hint=error.hint) from error


def frameworks(reader: codec.Reader) -> dict[str, tuple[float, float]]:
    """Take the fans that frameworks count otherwise."""
    given = reader.take("frameworks", {})
    if not isinstance(given, Mapping):
        raise reader.misfit("frameworks", given, "a table of pairs of fans")
    out: dict[str, tuple[float, float]] = {}
    for key, pair in given.items():
        fans = [codec.as_number(fan) for fan in pair] if isinstance(pair, list | tuple) else []
        if len(fans) != 2 or fans[0] is None or fans[1] is None:  # noqa: PLR2004 - a pair
            raise reader.misfit(f"frameworks.{text.printable(str(key))}", pair, "a pair of fans")
        out[str(key)] = (fans[0], fans[1])
    return out


def check_shape(reader: codec.Reader, region: Region, shape: tuple[int, ...]) -> None:
    """Refuse a shape whose length along the region's axis is not the region's."""
    if region.axis is None:
        return
    length = sum(stop - start for start, stop in region.ranges)
    if region.axis >= len(shape) or shape[region.axis] != length:
        raise reader.misfit("shape", shape, f"{length} along axis {region.axis} as its region")


def check_disjoint(regions: Iterable[tuple[str, Region]]) -> None:
    """Refuse two regions of one parameter that share an element."""
    seen: dict[str, list[Region]] = {}
    for name, region in regions:
        for other in seen.setdefault(name, []):
            if overlap(region, other):
                told = text.printable(name)
                raise PlanError(f"`{told}`: regions {other} and {region} overlap")
        seen[name].append(region)


def check_apart(drawn: Iterable[str], kept: Iterable[str]) -> None:
    """Refuse a parameter that is both drawn and kept."""
    if both := sorted({*drawn} & {*kept}):
        raise PlanError(
            f"`{text.printable(both[0])}` is both drawn and kept",
            hint="take it out of one of the two lists",
        )


def digest(scope: str, rows: Iterable[object]) -> str:
    """Return a BLAKE2b digest, in hexadecimal, of what is drawn in a scope, in any order."""
    lines = sorted(json.dumps(_canonical(codec.plain(row))) for row in rows)
    content = "\n".join((str(codec.STREAM), json.dumps(scope), *lines))
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _canonical(value: Any) -> Any:
    """Return plain data with equal numbers written alike: 3 as 3.0, -0.0 as 0.0."""
    if isinstance(value, dict):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value + 0.0 if isinstance(value, int | float) else value
