"""The parts of a study's page, each from the results to a piece of HTML; empty where there is nothing to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from ...files import atomic_path
from .examples import Example, disagreements
from .figures import draw_comparison, draw_training
from .labels import assignments, label
from .read import Results, Run
from .style import picture, svg
from .tables import (
    DEMONSTRATION,
    INTERVAL,
    Tables,
    conclusion,
    costs,
    held_fixed,
    plain,
    shared_work,
    signed,
    versus,
    with_half,
)

SINGLE = "A difference between two of its numbers can be chance."
Link = Callable[[Run], str]  # where the page of a run's notebook is; empty where it has none


def header(results: Results, tables: Tables) -> str:
    study, one = results.study, len(tables.seeds) < 2
    told = conclusion(tables, tables.metrics[0]) if tables.metrics else "No run has finished yet."
    note = f"<p class='note'>This is a demonstration with one seed: it shows that the study runs. {SINGLE}</p>" \
        if one and tables.metrics else ""
    return (f'<p class="note"><a href="../index.html">all studies</a></p><h1>{escape(results.name)}</h1>'
            f'<p class="question">{escape(study["question"])}</p>'
            f'<p><b>Expected:</b> {escape(study["hypothesis"])}</p>'
            f'<p class="result{" demo" if one else ""}">{escape(told)}</p>{note}')


def failures(results: Results, link: Link) -> str:
    """Points without numbers, and why."""
    missing = [run for run in (*results.shared, *results.runs) if run.problem]
    if not missing:
        return ""
    rows = [f'<li><b>{escape(run.variant)}</b>, seed {run.seed}: {escape(run.problem)}'
            f'{_anchor(link(run), " (its notebook, with the traceback)")}</li>' for run in missing]
    return f'<h2>Without numbers</h2><ul class="failed">{"".join(rows)}</ul>'


def main_table(tables: Tables, results: Results, link: Link) -> str:
    """Means with intervals; under each, the numbers of its seeds, each a link to the notebook that made it."""
    if not tables.metrics:
        return ""
    runs = {run.id: run for run in results.runs}
    rows = [[_mean_cell(tables, metric, variant, runs, link) for metric in tables.metrics]
            for variant in tables.variants]
    note = f"Mean ± half of the {INTERVAL}" if len(tables.seeds) > 1 else DEMONSTRATION.capitalize()
    return (f'<h2>All numbers</h2>{_table(tables.variants, tables.metrics, rows)}<p class="note">{note}. Underlined '
            'numbers are single runs and lead to their notebooks. The same as <a href="means.csv">means.csv</a>, and '
            'one number a row as <a href="runs.csv">runs.csv</a> and <a href="runs.parquet">runs.parquet</a>.</p>')


def difference_table(tables: Tables, results: Results, link: Link) -> str:
    """Variant minus reference, with the seeds paired."""
    if tables.differences.empty:
        return ""
    runs = {run.id: run for run in results.runs}
    rows = [[_difference_cell(tables, metric, variant, runs, link) for metric in tables.metrics]
            for variant in tables.compared]
    note = (f"Mean over seeds of the difference on the same seed, with its {INTERVAL}; not corrected for the number of "
            "comparisons" if tables.differences.n.max() > 1 else f"{DEMONSTRATION.capitalize()}, so without intervals")
    return (f'<h2>Against {escape(tables.study["reference"])}</h2>'
            f'{_table([versus(tables.study, name) for name in tables.compared], tables.metrics, rows)}'
            f'<p class="note">{note}. The same as <a href="differences.csv">differences.csv</a>.</p>')


def comparisons(tables: Tables, folder: Path) -> str:
    """A figure for every metric; files of their own as well."""
    figures = []
    for metric in tables.metrics:
        drawing = svg(draw_comparison(tables, metric))
        _keep(folder / f"{metric}.svg", drawing)
        figures.append(picture(drawing, conclusion(tables, metric), escape(conclusion(tables, metric))))
    papers = {entry["metric"] for entry in tables.study["paper"]} & set(tables.metrics)
    note = ('<p class="note">Squares are the paper\'s numbers, for another model on other data and in other units: on '
            "an axis of their own, where only the order can be compared.</p>") if papers else ""
    return f'<h2>Comparisons</h2>{note}<div class="figures">{"".join(figures)}</div>' if figures else ""


def committed_table(earlier: Tables | None, now: Tables, where: str) -> str:
    """What was found before with more seeds, beside a demonstration."""
    if earlier is None or len(earlier.seeds) <= len(now.seeds):
        return ""
    metrics = [metric for metric in earlier.metrics if metric in now.metrics] or earlier.metrics
    rows = [[_mean_cell(earlier, metric, variant) for metric in metrics] for variant in earlier.variants]
    told = escape(conclusion(earlier, metrics[0]))
    return (f'<h2>Found before, with {len(earlier.seeds)} seeds</h2><p class="result">{told}</p>'
            f'{_table(earlier.variants, metrics, rows)}<p class="note">Not made by this command: '
            f'<a href="{escape(where)}/README.md">the report that is kept with the project</a>.</p>')


def training(results: Results, folder: Path) -> str:
    histories: dict[str, list] = {}
    for run in (*results.shared, *results.runs):
        if run.history:
            histories.setdefault(run.variant, []).append(run.history)
    score = next((m for m in results.study["metrics"] if any(f"eval_{m}" in line for runs in histories.values()
                                                            for lines in runs for line in lines)), "named_F1@0.5")
    figure = draw_training(histories, score) if histories else None
    if figure is None:
        return ""
    drawing = svg(figure)
    _keep(folder / "training.svg", drawing)
    return f'<h2>How training went</h2>{picture(drawing, "scores and losses against the step of training")}' \
           '<p class="note">A line for each run. Names with @ are shared work that variants start from.</p>'


def disagreeing(results: Results, link: Link) -> str:
    found = disagreements(results)
    if not found:
        return ""
    return ('<h2>Where variants disagree</h2><p class="note">The questions on which the overlap with the truth differs '
            f'most between variants, seed {found[0].seed}: chosen for that, so not typical ones.</p>'
            + "".join(_example(example, link) for example in found))


def cost_table(results: Results, link: Link) -> str:
    table = costs(results)
    if table.empty:
        return ""
    columns = [name for name in table.columns if name != "variant"]
    rows = [[f"<td class='number'>{plain(row[name])}</td>" for name in columns] for row in table.to_dict("records")]
    hosts = sorted({run.environment.get("host", "?") for run in results.done})
    names = [(name, [_anchor(link(run), f"{run.seed}") for run in results.done if run.variant == name])
             for name in table.variant]
    return (f"<h2>What it cost</h2>{_table(names, columns, rows, written=True)}<p class='note'>Means over the finished "
            f"runs of each variant, by seed. Made on {escape(', '.join(hosts))}; times on the clock depend on what "
            "else a machine was doing.</p>")


def variation(results: Results) -> str:
    """What is varied, what is held fixed."""
    study = results.study
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{_settings(study['variants'][name])}</td></tr>"
                   for name in results.variants)
    shared = "".join(f"<li><code>{escape(name)}</code>: {_settings(settings)}</li>"
                     for name, settings in shared_work(study).items())
    return (f"<h2>What varies, what is held fixed</h2><div class='wide'><table><tbody>{rows}</tbody></table></div>"
            f"<p>Held fixed: {_settings(held_fixed(study))}.</p>"
            + (f"<p>Shared work, made once for each seed:</p><ul>{shared}</ul>" if shared else ""))


def provenance(results: Results, link: Link) -> str:
    runs = "".join(f"<li><code>{escape(run.id)}</code> {escape(run.variant)}, seed {run.seed}"
                   f"{_anchor(link(run), ' notebook')}</li>" for run in (*results.shared, *results.runs) if run.done)
    keys = ("python", "torch", "transformers", "commit")
    environments = {json.dumps({k: run.environment.get(k) for k in keys}) for run in results.done if run.environment}
    made = "".join(f"<p class='note'>{escape(', '.join(f'{k} {v}' for k, v in json.loads(text).items() if v))}</p>"
                   for text in sorted(environments))
    paper = "".join(f"<li>{escape(e['variant'])}, {escape(str(label(e['metric'])))}: {e['value']:g} "
                    f"({escape(e['source'])})</li>" for e in results.study["paper"])
    return (f"<h2>Where it comes from</h2>{made}<details><summary>Runs</summary><ul>{runs}</ul></details>"
            + (f"<details><summary>Numbers of the paper</summary><ul>{paper}</ul></details>" if paper else ""))


def _mean_cell(tables: Tables, metric: str, variant: str, runs: dict[str, Run] | None = None,
               link: Link = lambda run: "") -> str:
    found = tables.means[(tables.means.metric == metric) & (tables.means.variant == variant)]
    if found.empty:
        return "<td></td>"
    row = found.iloc[0]
    single = tables.runs[(tables.runs.metric == metric) & (tables.runs.variant == variant)].sort_values("seed")
    seeds = " ".join(_linked(link(runs[one.run]) if runs else "", plain(one.value)) for one in single.itertuples())
    if row.n == 1:
        return f"<td class='number'>{seeds}</td>"
    return f"<td class='number'>{with_half(row)}<br><span class='seeds'>{seeds}</span></td>"


def _difference_cell(tables: Tables, metric: str, variant: str, runs: dict[str, Run], link: Link) -> str:
    table, values = tables.differences, tables.runs[tables.runs.metric == metric]
    found = table[(table.metric == metric) & (table.variant == variant)]
    if found.empty:
        return "<td></td>"
    row = found.iloc[0]
    base = values[values.variant == row.reference].set_index("seed").value
    mine = values[(values.variant == variant) & values.seed.isin(base.index)].sort_values("seed")
    seeds = " ".join(_linked(link(runs[one.run]), signed(one.value - base[one.seed])) for one in mine.itertuples())
    if row.n == 1:
        return f"<td class='number'>{seeds}</td>"
    clear = row.low > 0 or row.high < 0
    mean = f"<b>{signed(row['mean'])}</b>" if clear else signed(row["mean"])
    return (f"<td class='number'>{mean}, {signed(row.low)} to {signed(row.high)}<br><span class='seeds'>{seeds}</span>"
            "</td>")


def _example(example: Example, link: Link) -> str:
    asked = example.asked
    rows = [_bar("truth", asked["events"], asked["duration"], asked["truth"], "truth")]
    rows += [_bar(_linked(link(example.runs[name]), escape(name)), line["intervals"], asked["duration"],
                  f"{line['answer']} (overlap {line['mIoU']:.2f})") for name, line in example.answers.items()]
    return (f'<div class="example"><p><b>{escape(asked["question"])}</b> <span class="note">{escape(asked["task"])}, '
            f'{escape(asked["video"])}, {asked["duration"]:g} s</span></p>{"".join(rows)}</div>')


def _bar(name: str, spans: Sequence, duration: float, said: str, kind: str = "") -> str:
    places = [(100 * max(0, a) / duration, 100 * max(0, b - a) / duration) for a, b in spans]
    marks = "".join(f'<i style="left:{left:.2f}%;width:{width:.2f}%"></i>' for left, width in places)
    return f'<div class="row {kind}"><span>{name}</span><span class="bar">{marks}</span>' \
           f'<span class="said">{escape(said)}</span></div>'


def _table(names: Sequence[str | tuple[str, list[str]]], columns: Sequence[str], rows: Sequence[Sequence[str]],
           written: bool = False) -> str:
    """Rows by name, or by name with links beside it; `columns` are metrics, unless they are `written` out."""
    heads = "".join(f"<th>{escape(str(name if written else label(name)))}</th>" for name in columns)
    names = [(escape(n), "") if isinstance(n, str) else (escape(n[0]), " ".join(n[1])) for n in names]
    body = "".join(f"<tr><th>{name} <span class='seeds'>{beside}</span></th>{''.join(cells)}</tr>"
                   for (name, beside), cells in zip(names, rows))
    return f"<div class='wide'><table><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>"


def _settings(values: dict) -> str:
    return ", ".join(f"<code>{escape(words)}</code>" for words in assignments(values)) or "as it is"


def _anchor(target: str, text: str) -> str:
    return f'<a href="{escape(target)}">{text}</a>' if target else ""


def _linked(target: str, text: str) -> str:
    return _anchor(target, text) or text


def _keep(path: Path, drawing: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(drawing)

