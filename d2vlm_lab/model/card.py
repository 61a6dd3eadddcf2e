"""What a checkpoint says about itself: recipe.json for programs, and README.md, the model card that the hub shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from huggingface_hub import EvalResult, ModelCardData

from .. import __version__, processes
from ..config import RunConfig, resolve
from ..errors import LabError
from ..files import write_json, write_text
from ..hub import HUB_ID, is_hub_id
from ..reader import parse_yaml, read_json, read_text
from ..settings import flat, to_dict
from .seal import ADAPTER, DESCRIPTION, LANGUAGE, WEIGHTS, base_of, checkpoint_id, find_checkpoint, run_of

RECIPE, CARD = "recipe.json", "README.md"
OURS = "mit"  # the licence of bases that this project makes from nothing
# The settings of a recipe that a reader wants to see at once; all of them are in recipe.json.
SHOWN = ("method.style", "adapter.targets", "adapter.rank", "adapter.alpha", "adapter.variant", "adapter.embeddings",
        "training.steps", "training.videos", "processes", "training.texts", "training.learning_rate",
        "preference.form", "reward.form", "data.fps", "data.max_frames", "seed")
TINY = ("It was trained on the synthetic world of this project alone: it knows those few words, in lower case, and "
        "those few shapes and motions. On any other video it still answers, and the answer means nothing.")
SHAPES = "Its frame encoder has only ever seen coloured shapes, and tells little about other videos."
WHAT = "A D2VLM: a video-language model that first finds *when* something happens, then says *what*."


class RecipeFile(TypedDict):
    """The content of recipe.json. Bases that were made from nothing have further fields."""

    config: NotRequired[dict[str, object]]
    scores: NotRequired[dict[str, object]]
    checkpoint: NotRequired[str]  # the checkpoint that has these scores
    library: NotRequired[str]


@dataclass(frozen=True)
class Score:
    """The scores on a benchmark; `stands_for` says with which data, prompt and decoding."""

    benchmark: str
    protocol: str
    values: dict[str, float]
    stands_for: str
    public: bool = True  # whether others know the benchmark, too


def note_recipe(folder: Path, config: RunConfig, scores: dict[str, float]) -> None:
    """Write into a checkpoint how it was trained and what it scored, and the card that says so."""
    recipe = {"config": _portable(recorded(config)), "scores": scores, "checkpoint": checkpoint_id(folder),
              "library": __version__}
    write_recipe(folder, recipe)
    write_card(folder, folder)


def recorded(config: RunConfig) -> dict[str, object]:
    """The settings of a run, and how many processes it has, each with a batch of its own."""
    return to_dict(config) | {"processes": processes.total()}


def write_recipe(folder: Path, recipe: RecipeFile) -> None:
    write_json(folder / RECIPE, recipe, sort_keys=True)


def read_recipe(folder: Path) -> dict:
    """The recipe of a checkpoint; for an older one, what its run left beside it. Empty if there is neither."""
    if (folder / RECIPE).is_file():
        return read_json(folder / RECIPE, RecipeFile)
    run, scored = run_of(folder) / "config.json", folder.absolute().parent / "metrics.json"
    recipe = {"config": _portable(read_json(run, dict))} if run.is_file() else {}
    if recipe and scored.is_file():
        recipe["scores"] = read_json(scored, dict).get("validation", {})
    return recipe


def write_card(folder: Path, origin: Path, scores: Sequence[Score] = (), name: str = "") -> None:
    """The card of the checkpoint in `folder`, which was loaded from `origin` or trained there.

    `name` is the hub id by which others load it; without one, the card has the name of the folder.
    """
    write_text(folder / CARD, model_card(folder, origin, scores, name))


def model_card(folder: Path, origin: Path, scores: Sequence[Score] = (), name: str = "") -> str:
    # The checkpoint of a run lies in a folder "model" within the folder of the run, whose name says more.
    title = name or (folder.name if folder.name != "model" else folder.absolute().parent.name)
    description, recipe = read_json(folder / DESCRIPTION, dict), read_recipe(origin)
    config = flat(recipe.get("config") or recipe.get("recipe", {}))  # the second is the recipe of a base
    bases = ancestry(origin, config)
    license = next(filter(None, map(licence, reversed([str(origin), *bases]))), "")
    on_hub = [HUB_ID.fullmatch(base)[1] for base in bases if is_hub_id(base)]
    data = ModelCardData(
        license=license or "other", license_name=None if license else "not-recorded", base_model=on_hub[-1:] or None,
        library_name="peft" if description["adapter"] else "transformers", pipeline_tag="video-text-to-text",
        tags=["d2vlm", "temporal-grounding"], model_name=title, eval_results=list(_results(scores)) or None)
    sections = {"Use": _use(folder, name, description), "Base": _base(bases, license), "Data": _data(config),
                "Recipe": _recipe(config), "Scores": _scores(recipe, scores),
                "Limits": _limits(origin, description, config)}
    return "\n".join(["---", data.to_yaml().strip(), "---", "", f"# {title}", "", WHAT, "",
                      *(line for title, lines in sections.items() for line in (f"## {title}", "", *lines, ""))])


def ancestry(origin: Path, config: dict[str, object]) -> list[str]:
    """The bases of a checkpoint, from the nearest to the first."""
    bases, folder = [], origin
    while (folder / DESCRIPTION).is_file() and (base := base_of(read_json(folder / DESCRIPTION, dict))):
        bases.append(base)
        try:
            folder = find_checkpoint(base)
            config = flat(read_recipe(folder).get("config", {}))
        except LabError:  # a card must not stop a run: what cannot be read is left out
            break
    if (language := config.get("parts.language")) and language not in bases:
        bases.append(str(language))
    return bases


def knows_annotations(folder: Path) -> bool:
    """Whether a checkpoint, or one that it starts from, was trained on an annotation file, as far as recipes tell."""
    sources = [str(folder), *ancestry(folder, flat(read_recipe(folder).get("config", {})))]
    with suppress(LabError):
        return any(flat(read_recipe(find_checkpoint(source)).get("config", {})).get("data.train")
                   for source in sources)
    return False


def licence(source: str) -> str:
    """The licence of weights that are on this machine, from their card; empty if it is not known."""
    try:
        folder = find_checkpoint(source)
        if (folder / RECIPE).is_file() and "recipe" in read_json(folder / RECIPE, dict):
            return OURS
        head = re.match(r"---\n(.*?)\n---", read_text(folder / CARD), re.DOTALL)
        known = parse_yaml(head[1], dict).get("license") if head else None
    except LabError:
        return ""
    return known if isinstance(known, str) and known != "other" else ""


def _portable(config):
    """A config, or a value in it, without the folders of this machine: only the name of an absolute path is kept.

    Every run has a folder "model", and a checkpoint may have one "language"; these keep the folder above them.
    """
    if isinstance(config, dict):
        return {name: _portable(value) for name, value in config.items()}
    if not isinstance(config, str) or not Path(config).is_absolute():
        return config
    return "/".join(Path(config).parts[-2 if Path(config).name in ("model", "language") else -1:])


def _use(folder: Path, hub_id: str, description: dict) -> list[str]:
    """How it is loaded, with this library and without."""
    name = hub_id or folder.name
    lines = ["```python", "from d2vlm_lab import lab", "", f'model = lab.load("{name}")',
             'print(model.watch("video.mp4").ask("when does it happen?"))', "```"]
    alone = "The language model alone, with {} (to show it frames, use the library as above):"
    if (folder / ADAPTER).exists():
        base = read_json(folder / "adapter_config.json", dict)["base_model_name_or_path"] or ""
        of_video = description["frames"]["kind"] == "own"  # the language model is a part of a video-language model
        if (folder / LANGUAGE).exists():
            beneath = 'f"{folder}/language"'
        elif not base:
            return [*lines, "", "Only this library loads the folder: it holds a video-language model that was taken "
                    "apart."]
        elif is_hub_id(base) or (resolve(base) / "config.json").is_file():
            beneath = f'"{_portable(base)}"'
        else:
            return [*lines, "", "Its base is a checkpoint of an older form, which transformers does not load: "
                    "`d2vlm-lab export` makes a folder of both that PEFT loads."]
        auto = "AutoModelForImageTextToText" if of_video else "AutoModelForCausalLM"
        fetch = ["from huggingface_hub import snapshot_download"] if hub_id else []
        place = f'snapshot_download("{hub_id}")' if hub_id else f'"{name}"'
        words = description["language"].get("text_config", {}).get("vocab_size")
        rows = [f"base.resize_token_embeddings({words})  # with rows for <evi> and </evi>"] if of_video else []
        return [*lines, "", alone.format("PEFT"), "", "```python", *fetch, "from peft import PeftModel",
                f"from transformers import {auto}", "", f"folder = {place}",
                f"base = {auto}.from_pretrained({beneath})", *rows, "model = PeftModel.from_pretrained(base, folder)",
                "```"]
    if (folder / WEIGHTS).exists():
        lines += ["", alone.format("transformers"), "", "```python", "from transformers import AutoModelForCausalLM",
                  "", f'model = AutoModelForCausalLM.from_pretrained("{name}")', "```"]
    return lines


def _base(bases: list[str], license: str) -> list[str]:
    names = ", which starts from ".join(f"`{_portable(base)}`" for base in bases)
    terms = f"`{license}`" if license else "not recorded: see where the base was published before you share this"
    return [f"It starts from {names}." if bases else "It was made from nothing.", f"Licence of the base: {terms}."]


def _data(config: dict) -> list[str]:
    if config.get("data.train"):
        return [f"`{config['data.train']}` in the format `{config['data.format']}`."]
    if config.get("world"):
        return [f"The synthetic world `{config['world']}`, which `d2vlm-lab make-world` makes; no real videos."]
    if config.get("data.world"):
        changes = ", ".join(config.get("data.world_settings", ()))
        return [f"The synthetic world `{config['data.world_preset']}`{f' with {changes}' if changes else ''}, which "
                "`d2vlm-lab make-world` makes; no real videos."]
    return ["Not recorded."]


def _recipe(config: dict) -> list[str]:
    names = SHOWN if "training.steps" in config else list(config)
    rows = [f"| `{name}` | `{config[name]}` |" for name in names if config.get(name) not in (None, "off")]
    return ["| setting | value |", "|---|---|", *rows, "", "All settings are in `recipe.json`."] if rows else [
        "Not recorded."]


def _scores(recipe: dict, scores: Sequence[Score]) -> list[str]:
    lines = []
    for score in scores:
        lines += [f"{score.benchmark}, protocol `{score.protocol}`:", "", *_table(score.values), "",
                  f"{score.stands_for}.", ""]
    if measured := {name: value for name, value in recipe.get("scores", {}).items() if isinstance(value, (int, float))}:
        lines += ["On validation questions of its own run, decoded greedily (no benchmark):", "", *_table(measured)]
    return lines or ["None are recorded."]


def _table(values: dict[str, float]) -> list[str]:
    return ["| metric | value |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in values.items())]


def _results(scores: Sequence[Score]) -> Iterator[EvalResult]:
    """The scores in the form of the hub's own tables, which are about public data sets."""
    for score in filter(lambda score: score.public, scores):
        for name, value in score.values.items():
            yield EvalResult(
                task_type="video-text-to-text", dataset_type=score.benchmark, dataset_name=score.benchmark,
                metric_type=name, metric_name=f"{name} ({score.protocol})", metric_value=round(value, 4))


def _limits(origin: Path, description: dict, config: dict) -> list[str]:
    lines = []
    if not description["grounded"]:
        lines.append("- It was never taught to ground: the times in its answers mean nothing.")
    if description["frames"]["kind"] == "tiny":
        lines.append(f"- {SHAPES if knows_annotations(origin) else TINY}")
    if fps := config.get("data.fps"):
        lines.append(f"- It was trained on {fps:g} frames a second, and its intervals begin and end at frames.")
    return [*lines, "- It always answers, even if nothing in the video fits the question. Look at its evidence."]
