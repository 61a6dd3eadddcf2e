"""A study's report in Markdown: a code host shows it as README.md, and the study's page is made from the same text.

`pages` leads from the id of a run to the page of its executed notebook, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from ...judging.catalogue import CATALOGUE
from .map import has_map, map_conclusion, map_summary, maps
from .read import Results
from .tables import (
    DEMONSTRATION,
    Tables,
    conclusion,
    costs,
    held_fixed,
    label,
    plain,
    shared_work,
    signed,
    versus,
)

MAP = ("What each idea is worth under each condition: the mean difference, on the same seeds, between the variant that "
       "has the idea and the one that does not. Blue means that the idea helps, orange that it costs, also where less "
       "is better; where neither is better by itself, green means more and pink less. Where a cell is hatched, the "
       "95 % interval over seeds contains zero, or there is only one seed; all other cells are clear. This is not "
       "corrected for the number of cells: under each map stands how many would look clear by chance, if no idea did "
       "anything. Cells that share runs go together, so twice as many can be chance, too. [map.csv](map.csv) has the "
       "cells of all metrics, with their intervals and the runs behind them.")
Pages = Mapping[str, str]
ONE_SEED = f"{DEMONSTRATION.capitalize()}, without intervals. A difference between two numbers can be chance."
PAIRED = ("Mean of the differences on the same seed, with its interval. A difference is clear, and bold, where the "
          "interval does not contain zero. This is not corrected for the number of comparisons.")


def findings(results: Results, tables: Tables, figures: Iterable[str], pages: Pages | None = None) -> str:
    """Question, conclusions, what is missing, all numbers and differences, figures; maps come before the numbers."""
    study, several = results.study, len(tables.seeds) > 1
    parts = [f"# {study['name']}", f"**{study['question']}**", f"Expected: {study['hypothesis']}",
             bullets(in_short(tables, m) for m in maps(tables) or tables.metrics[:3]) or "No run has finished yet."]
    parts += missing(results, pages or {})
    parts += drawn(tables, figures) if (mapped := has_map(tables)) else []  # what follows has a row for each variant
    seeds = ", ".join(map(str, tables.seeds))
    if tables.metrics:
        note = f"Mean over the seeds {seeds} ± half of its 95 % interval (Student's t)." if several else ONE_SEED
        if tables.runs.groupby("variant").seed.nunique().nunique() > 1:
            note += " Some variants have fewer seeds, as the last table shows."
        elif tables.runs[tables.runs.metric.isin(tables.metrics)].groupby(
                ["metric", "variant"]).seed.nunique().nunique() > 1:
            note += " Some numbers have fewer seeds (column `n` of the file), because not every run has them."
        parts += ["## All numbers", numbers(tables, pages),
                  f"{note} The same as [means.csv](means.csv), and one number a row as [runs.csv](runs.csv)."]
        if absent := [f"`{name}`" for name in study["metrics"] if name not in tables.metrics]:
            parts.append(f"No run has a value of {', '.join(absent)}.")
    if not tables.differences.empty:
        parts += [f"## Against {study['reference']}", against(tables, pages),
                  f"{PAIRED if several else ONE_SEED} The same as [differences.csv](differences.csv)."]
    return _join(parts + ([] if mapped else drawn(tables, figures)))


def background(results: Results, tables: Tables, pages: Pages | None = None) -> str:
    """Costs, what varies and what is held fixed, what the metrics mean, and the runs."""
    study = results.study
    ran = [name for name in study["variants"] if name in {run.variant for run in results.runs}]
    parts = spent(results) + ["## What varies, what is held fixed",
                              bullets(f"`{name}`: {settings(study['variants'][name])}" for name in ran),
                              f"Held fixed: {settings(held_fixed(study, ran))}."]
    if shared := shared_work(study):
        parts += ["Shared work, made once for each seed:",
                  bullets(f"`{name}`: {settings(values)}" for name, values in shared.items())]
    known = [CATALOGUE[metric] for metric in tables.metrics if metric in CATALOGUE]
    if known:
        better = {True: " Higher is better.", False: " Lower is better.", None: ""}
        parts += ["## What the metrics mean",
                  bullets(f"{label(metric.name)}: {metric.meaning}{better[metric.higher_is_better]}"
                          for metric in known)]
    ids = {(run.variant, run.seed): linked(f"`{run.id}`", run.id, pages)
           for run in (*results.shared, *results.runs) if run.done}
    if ids:
        rows, seeds = list(dict.fromkeys(variant for variant, _ in ids)), sorted({seed for _, seed in ids})
        parts += ["## Runs", table(rows, seeds, lambda seed, variant: ids.get((variant, seed), ""), "seed {}".format)]
    return _join(parts + [f"Made with {text}." for text in study.get("made_with", [])] + papers(study))


def in_short(tables: Tables, metric: str) -> str:
    """One or two sentences about a metric; a map has too many variants to name them all."""
    return map_summary(tables, metric) if has_map(tables) else conclusion(tables, metric)


def missing(results: Results, pages: Pages) -> list[str]:
    """Points without numbers, and why."""
    rows = [f"**{run.variant}**, seed {run.seed}: `{run.problem.replace('`', chr(39))}`"
            + (f" ([its notebook, with the traceback]({pages[run.id]}))" if run.id in pages else "")
            for run in (*results.shared, *results.runs) if run.problem]
    return ["## Runs without numbers", bullets(rows)] if rows else []


def numbers(tables: Tables, pages: Pages | None = None) -> str:
    """Means with intervals; with `pages` also the numbers of the seeds, each leading to the notebook that made it."""
    def cell(metric: str, variant: str) -> str:
        runs, row = tables.by_seed(metric, variant), tables.mean(metric, variant)
        seeds = [linked(plain(value), run, pages) for value, run in zip(runs.value, runs.run)]
        return _cell(seeds, f"{plain(row['mean'])} ± {plain(row['high'] - row['mean'])}" if row else "", pages)

    return table(tables.variants, tables.metrics, cell)


def against(tables: Tables, pages: Pages | None = None) -> str:
    """Variant minus what it is compared with; with `pages` also on each seed."""
    def cell(metric: str, variant: str) -> str:
        runs, row = tables.by_seed(metric, variant).run, tables.difference(metric, variant)
        gains = tables.paired(metric, variant)
        seeds = [linked(signed(gain), runs[seed], pages) for seed, gain in gains.items()]
        text = f"{signed(row['mean'])}, {signed(row['low'])} to {signed(row['high'])}" if row else ""
        return _cell(seeds, f"**{text}**" if row and (row["low"] > 0 or row["high"] < 0) else text, pages)

    return table(tables.compared, tables.metrics, cell, name=lambda variant: versus(tables.study, variant))


def _cell(seeds: Sequence[str], mean: str, pages: Pages | None) -> str:
    """The mean, and in a page the numbers of its seeds below it; one seed is its own mean."""
    return " ".join(seeds) if len(seeds) < 2 else mean if pages is None else f"{mean} *{' '.join(seeds)}*"


def found_before(kept: Tables, tables: Tables, where: str) -> str:
    """What is kept of the same study with more seeds, under a demonstration."""
    shown = Tables(kept.study | {"metrics": [m for m in kept.metrics if m in tables.metrics] or kept.metrics},
                   kept.runs)
    return _join([f"## Found before, with {len(kept.seeds)} seeds", in_short(shown, shown.metrics[0]), numbers(shown),
                  f"Not made by this command: [the report that is kept with the project](<{where}/README.md>)."])


def drawn(tables: Tables, figures: Iterable[str]) -> list[str]:
    """Every figure with what it says under it."""
    parts = ["## Figures"] if figures else []
    if {entry["metric"] for entry in tables.study["paper"]} & set(tables.metrics):
        parts += ["Squares are the numbers of the paper, for another model on other data and in other units. They have "
                  "an axis of their own, since only their order can be compared."]
    notes = {"training": "How training went: a line for each run; where kept results were joined, for the runs of one "
                         "of them. Names with @ are shared work that variants start from."}
    parts += [MAP] if (mapped := has_map(tables)) else []
    for name in figures:
        note = notes.get(name) or (map_conclusion if mapped else conclusion)(tables, name)
        parts += [f"![{label(name)}](figures/{name}.svg)", note]
    return parts


def spent(results: Results) -> list[str]:
    costly = costs(results)
    if costly.empty:
        return []
    hosts = sorted({run.environment["host"] for run in results.done if "host" in run.environment})
    cells = costly.to_dict()
    return ["## What it cost", table(list(costly.index), list(costly), lambda name, row: plain(cells[name][row]), str),
            "Means over the finished runs of each variant. " + (f"Made on {', '.join(hosts)}. " if hosts else "")
            + "Times on the clock depend on what else a machine was doing."
            + (" The training time of a variant includes that of the shared work that it starts from."
               if any(work.metrics for work in results.shared) else "")]


def papers(study: Mapping) -> list[str]:
    rows = [f"{entry['variant']}, {label(entry['metric'])}: {entry['value']:g} ({entry['source']})"
            for entry in study["paper"]]
    return ["Numbers of the paper:", bullets(rows)] if rows else []


def variants_table(variants: Mapping[str, Mapping[str, object]]) -> str:
    """What each variant changes, as a table in Markdown; settings that only studies have are explained under it."""
    notes = {"@": "`@...` is a checkpoint that several variants start from.",
             "notebook.learn=off": "With `notebook.learn=off` the checkpoint is asked as it is, without training."}
    rows = [f"| {name} | {settings(changes)} |" for name, changes in variants.items()]
    text = "\n".join(["| variant | settings |", "|:--|:--|", *rows])
    return f"{text}\n\n{' '.join(note for sign, note in notes.items() if sign in text)}".rstrip()


def table(rows: Sequence[str], columns: Sequence, cell: Callable, head: Callable = label,
          name: Callable = str) -> str:
    lines = [["", *(str(head(column)) for column in columns)], ["---"] * (len(columns) + 1)]
    lines += [[name(row), *(cell(column, row) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings(values: Mapping[str, object]) -> str:
    """`key=value` for each, as a command line takes them."""
    def word(value: object) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return value if isinstance(value, str) else json.dumps(value)

    return ", ".join(f"`{key}={word(value)}`" for key, value in values.items()) or "as it is"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def linked(text: str, run: str, pages: Pages | None) -> str:
    """The text as a link to the notebook of a run, where that has a page."""
    return f"[{text}]({pages[run]})" if pages and run in pages else text


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
