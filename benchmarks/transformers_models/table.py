"""The table of all models in the documentation."""

from __future__ import annotations

from typing import Any

from benchmarks.transformers_models.training import STEPS

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def with_table(page: str, record: dict[str, Any]) -> str:
    """Return a page with the table of a record in the place of the one that it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(record)}{END}{after}"


def table(record: dict[str, Any]) -> str:
    """Return the table of a record, and the versions that it holds for."""
    rows = record["models"]
    versions = " and ".join(f"{name} {version}" for name, version in record["versions"].items())
    healthy = {when: sum(row[when][0] == "healthy" for row in rows) for when in ("before", "after")}
    lines = [
        f"{len(rows)} models, {versions}: {healthy['before']} healthy as the library starts them,"
        f" {healthy['after']} as `auto` does.",
        "",
        "| kind | model | parameters, kept | before | after | drawn from meta |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['kind']} | `{row['model']}` | {row['parameters']}, {row['kept']} |"
        f" {_verdict(row['before'])} | {_verdict(row['after'])} | {row['meta'].replace('|', '/')} |"
        for row in rows
    ]
    return "\n".join([*lines, *_trained(rows)]) + "\n"


def _trained(rows: list[dict[str, Any]]) -> list[str]:
    """Return a second table: what training shows of the models that start ill."""
    ill = [(row["model"], row["trained"]) for row in rows if "trained" in row]
    lines = [
        "",
        f"Those that start ill, trained on one batch for {STEPS} steps: the loss before, and after"
        " by the best of SGD and Adam at two rates each.",
        "",
        "| model | the library's start | the start of `auto` |",
        "|---|---|---|",
    ]
    for model, trained in ill:
        told = [f"{first:.3f} → {last:.3f}" for first, last in (trained["own"], trained["auto"])]
        lines.append(f"| `{model}` | {told[0]} | {told[1]} |")
    return lines


def _verdict(told: list[str]) -> str:
    verdict, where, _ = told
    return f"**{verdict}** at `{where}`" if where else verdict
