"""A study in Markdown: the README that a code host shows of kept results, and tables for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .labels import assignments, label
from .tables import DEMONSTRATION, INTERVAL, Tables, conclusion, held_fixed, shared_work, signed, versus, with_half


def readme(tables: Tables) -> str:
    """Question, conclusions, both tables, the figures beside it, the ids of the runs."""
    study, several = tables.study, len(tables.seeds) > 1
    metrics = tables.metrics
    note = f"Mean ± half of the {INTERVAL}: {', '.join(map(str, tables.seeds))}." if several else \
        f"{DEMONSTRATION.capitalize()}."
    return "\n\n".join(filter(None, [
        f"# {study['name']}", f"**{study['question']}**", f"Expected: {study['hypothesis']}",
        "\n".join(f"- {conclusion(tables, metric)}" for metric in metrics[:3]),
        f"## All numbers\n\n{numbers(tables)}", note,
        f"## Against {study['reference']}\n\n{against(tables)}" if not tables.differences.empty else "",
        "Seeds paired, with the interval; bold where it leaves out zero. Not corrected for the number of comparisons."
        if several else "",
        "## Figures\n\n" + "\n".join(f"![{label(metric)}](figures/{metric}.svg)" for metric in metrics),
        "## Runs\n\nVaried:\n\n" + _listed({name: study["variants"][name] for name in tables.variants}),
        f"Held fixed: {_settings(held_fixed(study))}.",
        f"Shared work, made once for each seed:\n\n{_listed(shared)}" if (shared := shared_work(study)) else "",
        table(tables.variants, tables.seeds, lambda *at: _run(tables, *at), head="seed {}".format),
    ])) + "\n"


def numbers(tables: Tables) -> str:
    return table(tables.variants, tables.metrics, lambda *at: _mean(tables, *at))


def against(tables: Tables) -> str:
    return table(tables.compared, tables.metrics, lambda *at: _difference(tables, *at),
                 name=lambda variant: versus(tables.study, variant))


def table(rows: Sequence[str], columns: Sequence, cell: Callable, head: Callable = label,
          name: Callable = str) -> str:
    lines = [["", *(str(head(column)) for column in columns)], ["---"] * (len(columns) + 1)]
    lines += [[name(row), *(cell(column, row) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def variants_table(variants: Mapping[str, Mapping[str, object]]) -> str:
    """What each variant changes, as a table in Markdown; settings that only studies have are explained under it."""
    said = {"@": "`@...` is a checkpoint that several variants start from.",
            "notebook.learn=off": "`notebook.learn=off` is only asked, not trained."}
    rows = [f"| {name} | {_settings(changes)} |" for name, changes in variants.items()]
    text = "\n".join(["| variant | settings |", "|:--|:--|", *rows])
    return f"{text}\n\n{' '.join(note for sign, note in said.items() if sign in text)}".rstrip()


def _mean(tables: Tables, metric: str, variant: str) -> str:
    found = tables.means[(tables.means.metric == metric) & (tables.means.variant == variant)]
    return "".join(map(with_half, found.to_dict("records")))


def _difference(tables: Tables, metric: str, variant: str) -> str:
    gains = tables.differences
    for row in gains[(gains.metric == metric) & (gains.variant == variant)].itertuples(index=False):
        if row.n == 1:
            return signed(row.mean)
        text = f"{signed(row.mean)}, {signed(row.low)} to {signed(row.high)}"
        return f"**{text}**" if row.low > 0 or row.high < 0 else text
    return ""


def _run(tables: Tables, seed: int, variant: str) -> str:
    mine = tables.runs[(tables.runs.seed == seed) & (tables.runs.variant == variant)]
    return " ".join(f"`{run}`" for run in mine.run.unique())


def _listed(settings: dict[str, dict]) -> str:
    return "\n".join(f"- `{name}`: {_settings(values)}" for name, values in settings.items())


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"`{words}`" for words in assignments(values)) or "as it is"
