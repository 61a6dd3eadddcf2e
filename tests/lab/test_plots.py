"""What the pictures draw: the right marks at the right places, with axes that say their unit."""

import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.ideas.grounding import similarity
from d2vlm_lab.lab.plots import (
    COLORS,
    PARTS,
    Slider,
    Strip,
    draw_bars,
    draw_confusion,
    draw_curve,
    draw_curves,
    draw_decoding,
    draw_layers,
    draw_losses,
    draw_mask,
    draw_method,
    draw_panels,
    draw_push,
    draw_scores,
    draw_seeds,
    draw_strips,
    draw_targets,
    draw_timeline,
    draw_tokens,
    new_figure,
    seed_interval,
    show_source,
)
from d2vlm_lab.lab.plots.colors import TRUTH
from d2vlm_lab.lab.plots.curves import zoom_in

TIMES = np.arange(8) / 2
CURVE = np.array([0.1, 0.1, 0.2, 0.9, 1.0, 0.8, 0.2, 0.1])
FRAMES = np.zeros((8, 6, 8, 3), np.uint8)


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_curve_holds_every_frame_until_the_next_and_marks_what_was_read_off_it():
    figure = draw_curve(CURVE, TIMES, (1.5, 2.5), truth=Event(1.5, 3.0), threshold=0.6)
    ax = figure.axes[0]
    values, edges, _ = next(patch for patch in ax.patches if hasattr(patch, "get_data")).get_data()
    assert np.allclose(values, CURVE)
    assert np.allclose(edges, np.arange(9) / 2)
    assert {"truth", "similarity", "threshold 0.60", "interval"} == set(labels(figure))
    bar = next(line for line in ax.lines if line.get_label() == "interval")
    assert list(bar.get_xdata()) == [1.5, 3.0]  # the last frame stays for half a second
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "similarity")


def test_a_curve_of_a_padded_batch_is_drawn_only_where_the_video_has_frames():
    figure = draw_curve(np.append(CURVE, [0, 0, 0]), TIMES)
    assert figure.axes[0].get_xlim() == (0, 4)


def bars(ax) -> list[tuple[float, float, str]]:
    """From when to when each bar lasts, and its colour."""
    return [(bar.get_x(), bar.get_x() + bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in ax.patches]


def test_a_strip_gives_a_caption_its_colour_in_every_row_unless_a_row_has_its_own():
    rows_of_events = {"truth": [Event(0, 1, "it spins"), Event(2, 3, "it blinks")], "said": [Event(2, 3, "it blinks")]}
    (ax,) = draw_strips([Strip(FRAMES, TIMES, rows_of_events)]).axes
    assert bars(ax) == [(0, 1.5, COLORS[0]), (2, 3.5, COLORS[1]), (2, 3.5, COLORS[1])]
    (ax,) = draw_strips([Strip(FRAMES, TIMES, rows_of_events, colors={"said": TRUTH})]).axes
    assert [color for _, _, color in bars(ax)] == [COLORS[0], COLORS[1], TRUTH]


def test_captions_and_notes_of_a_strip_stay_inside_the_figure_and_apart_from_each_other():
    rows_of_events = {(0, 0.5): "the yellow disc moves left", (1, 3): "the red disc spins", (3.5, 3.5): "it blinks"}
    events = [Event(*interval, caption) for interval, caption in rows_of_events.items()]
    figure = draw_strips([Strip(FRAMES, TIMES, {"truth": events}, notes=["when does the red disc spin? " * 20])])
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert figure.axes[0].texts[-1].get_text().endswith("…")
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_a_timeline_has_a_row_for_the_truth_and_one_for_each_prediction():
    figure = draw_timeline([Event(1, 3, "it spins")], {"coupled": [(0, 2)], "factorized": [(1, 3), (4, 5)]}, 8)
    ax = figure.axes[0]
    bars = [(bar.get_x(), bar.get_width(), round(bar.get_y() + 0.33)) for bar in ax.patches]
    assert bars == [(1, 2, 0), (0, 2, 1), (1, 2, 2), (4, 1, 2)]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["truth", "coupled", "factorized"]
    assert ax.get_xlim() == (0, 8)
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["it spins"]


def test_a_timeline_leaves_out_a_caption_that_its_bar_cannot_hold():
    texts = draw_timeline([Event(1, 2, "the red disc spins")], [], 60).axes[0].texts
    assert not any(text.get_text() for text in texts)


def test_targets_are_drawn_under_their_names():
    figure = draw_targets({"hard": [0, 1, 1, 0], "soft": [0.5, 1, 1, 0.5]})
    assert labels(figure) == ["hard", "soft"]
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0, 1, 1, 0], [0.5, 1, 1, 0.5]]


def test_a_mask_is_coloured_exactly_where_one_may_look():
    mask = np.tril(np.ones((4, 6), bool), 2)
    figure = draw_mask(mask, [("frames", 3), ("answer", 3)])
    ax = figure.axes[0]
    assert np.array_equal(np.asarray(ax.images[0].get_array(), bool), mask)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["frames", "answer"]
    seen = pixels(figure)
    x, y = (ax.transData.transform((0.5, 0.5))).astype(int)
    assert np.abs(seen[len(seen) - y, x] - np.array([86, 180, 233])).max() < 3  # the palette's sky blue


def test_segments_that_do_not_fill_the_mask_are_named_as_the_mistake():
    with pytest.raises(ValueError, match="5 long together, but the mask has 6 keys"):
        draw_mask(np.ones((6, 6)), [("frames", 5)])


def test_losses_and_scores_come_from_a_history_file(tmp_path):
    lines = [{"step": s, "cpu_seconds": 2 * s, "loss_answer": 3 - s, "loss_grounding": 1} for s in (0, 1, 2)]
    lines.append({"step": 2, "cpu_seconds": 5, "eval_named_mIoU": 0.5})
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    losses = draw_losses(tmp_path)
    assert [ax.get_title(loc="left") for ax in losses.axes] == ["answer", "grounding"]
    assert list(losses.axes[0].lines[0].get_ydata()) == [3, 2, 1]
    scores = draw_scores({"run": tmp_path}, "eval_named_mIoU", "cpu_seconds")
    assert scores.axes[0].lines[0].get_xydata().tolist() == [[5, 0.5]]
    assert scores.axes[0].get_xlabel() == "CPU time (s)"


def test_an_interval_over_seeds_is_students_and_one_seed_has_none():
    mean, half = seed_interval([0.5, 0.6, 0.7])
    assert mean == pytest.approx(0.6)
    assert half == pytest.approx(4.302653 * 0.1 / 3 ** 0.5)
    assert np.isnan(seed_interval([0.5])[1])
    (ax,) = draw_seeds({"full": [0.5, 0.6, 0.7], "without": [0.4], "failed": []}, "F1").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["full", "without", "failed"]
    dots = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[0.5, 0.6, 0.7]]  # one seed is its own mean, and a row without numbers stays empty


def test_a_confusion_writes_its_numbers_and_leaves_out_what_is_unknown():
    figure = draw_confusion([[1, 0.25], [np.nan, 0]], ["when", "what"], ["text", "grounding"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["100%", "25%", "", "0%"]


def test_axes_that_are_given_are_drawn_on():
    figure, axes = new_figure(rows=2)
    assert draw_curve(CURVE, TIMES, ax=axes[0]) is figure
    assert draw_timeline([(0, 1)], [(0, 2)], 4, ax=axes[1]) is figure
    assert axes[0].patches and axes[1].patches


def test_source_is_shown_as_the_library_has_it():
    shown = show_source(similarity)
    assert shown._repr_markdown_().startswith("```python\ndef similarity(")
    assert "math.sqrt(frames.shape[-1])" in repr(shown)
    assert "white-space: pre; overflow-x: auto" in shown._repr_html_()  # a long line scrolls


def test_neighbouring_colours_stay_apart_for_readers_without_red_or_green():
    """Distances after projecting onto what a deuteranope sees (the usual linear model), lightness included."""
    rgb = np.array([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLORS]) ** 2.2
    seen = rgb @ np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]).T
    gaps = np.abs(seen[:, None] - seen[None]).sum(-1)[np.triu_indices(len(COLORS), 1)]
    assert gaps.min() > 0.1


def test_tokens_go_on_in_the_next_line_and_none_is_lost():
    figure = draw_tokens(["Ġwhen", "<evi>"] * 30, {"<evi>": COLORS[1]}, width=4)
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["_when", "<evi>"] * 30
    assert len({text.get_position()[1] for text in texts}) > 3
    assert max(text.get_position()[0] for text in texts) < 4


def test_a_slider_brings_its_picture_for_pages_that_show_no_widgets():
    asked = []

    def draw(number):
        asked.append(number)
        return draw_curve(CURVE, TIMES, threshold=number)

    slider = Slider(draw, "share", 0.1, 0.9, 0.6)
    bundle = slider._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert set(asked) == {0.6}
    slider.widget.children[0].value = 0.3
    assert asked[-1] == pytest.approx(0.3)


def test_the_picture_of_the_method_has_one_part_in_colour_and_the_others_grey():
    def colours(*lit):
        figure = draw_method(*lit)
        boxes = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
        return {to_hex(box.get_facecolor()).upper() for box in boxes}

    assert COLORS[3] in colours("consistency")  # its box alone is pink
    assert COLORS[3] not in colours("grounding")
    assert colours(*PARTS) == colours()


def test_a_part_that_the_picture_does_not_have_is_named_together_with_those_it_has():
    with pytest.raises(ValueError, match="no part 'semantic'; it has world, frames"):
        draw_method("semantic")


def test_nothing_in_the_picture_of_the_method_is_cut_off_and_no_words_lie_on_each_other():
    figure = draw_method()
    FigureCanvasAgg(figure).draw()
    words = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().strip()]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in words)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in words)
    assert not any(a.overlaps(b) for k, a in enumerate(words) for b in words[:k])


def test_a_strip_does_not_show_only_every_second_frame():
    frames = np.zeros((32, 6, 8, 3), np.uint8)
    frames[::2] = 255  # as of a thing that blinks
    (ax,) = draw_strips([Strip(frames, np.arange(32) / 2, {})]).axes
    shown = {int(image.get_array().max()) for image in ax.images}
    assert shown == {0, 255}


def test_intervals_of_a_row_that_overlap_are_drawn_under_each_other():
    (ax,) = draw_timeline([(2, 6)], {"three times": [(2, 6), (2.5, 6), (7, 8)]}, 10).axes
    truth, *bars = ax.patches
    assert truth.get_height() == pytest.approx(0.66)
    assert len({round(bar.get_y(), 3) for bar in bars}) == 2
    assert all(bar.get_height() == pytest.approx(0.33) for bar in bars)


def test_bars_have_a_row_for_each_name_and_a_legend_only_where_a_row_has_several():
    one = draw_bars({"with": 0.5, "without": 0.25}, "F1").axes[0]
    assert [bar.get_width() for bar in one.patches] == [0.5, 0.25]
    assert one.get_legend() is None
    several = draw_bars({"tvg": {"a": 1, "b": 2}, "dvc": {"b": 3}}, "F1", 3)
    assert labels(several) == ["a", "b"]
    assert [bar.get_width() for bar in several.axes[0].patches][2:] == [2, 3]


def test_panels_share_their_rows_and_have_their_own_axes():
    figure = draw_panels({"when": {"a": 0.1, "b": 0.2}, "apart": {"a": 4.0, "b": 2.0}}, ["F1", "distance"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["when", "apart"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["F1", "distance"]
    assert [ax.get_xlim()[1] > 4 for ax in figure.axes] == [False, True]


def test_curves_are_rows_with_their_own_truth_and_one_legend():
    figure = draw_curves({"first": CURVE, "second": CURVE}, TIMES, {"first": (1, 2)}, {"second": (1.5, 2.5)})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["first", "second"]
    assert [ax.get_legend() is not None for ax in figure.axes] == [True, False]
    assert [any(line.get_label() == "interval" for line in ax.lines) for ax in figure.axes] == [False, True]


def test_the_push_is_drawn_upwards_in_green_and_downwards_in_red():
    _, bottom = draw_push([0.2, 0.9], [1.0, 0.0], [0.4, -0.45], (0, 0)).axes
    assert [to_hex(bar.get_facecolor()).upper() for bar in bottom.patches] == [COLORS[2], COLORS[5]]


def test_layers_stand_side_by_side_for_each_fact_and_less_than_nothing_is_nothing():
    (ax,) = draw_layers([[0.5, -2.0], [1.0, 0.25]], ["colour", "begin"], split=1).axes
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0, 1.0, 0.25]


def test_decoding_marks_the_interval_of_evidence_tokens_alone():
    left, right = draw_decoding(["<evi>", "it"], [[0, 1, 0], [1, 0, 0]], [(1, 1), (0, 0)], [3.0, 0.0], range(4)).axes
    assert [list(line.get_xdata()) for line in left.lines] == [[1, 2]]
    assert [bar.get_width() for bar in right.patches] == [3.0, 0.0]


def test_a_few_rows_that_lie_far_away_become_arrows_so_that_the_others_can_be_told_apart():
    near = {f"variant {k}": [0.90 + 0.005 * k, 0.905 + 0.005 * k] for k in range(6)}
    ax = draw_seeds(near | {"early": [0.5, 0.52]}, "F1").axes[0]
    zoom_in(ax, near | {"early": [0.5, 0.52]})
    assert ax.get_xlim()[0] > 0.85
    assert [text.get_text().strip() for text in ax.texts] == ["◂ 0.51"]
    half = seed_interval(near["variant 5"])[1]
    assert ax.get_xlim()[1] > np.mean(near["variant 5"]) + half, "an interval is shown whole"
    zoom_in(ax, near | {"early": [0.5, 0.52]}, keep=0.6)
    assert ax.get_xlim()[0] < 0.6
    whole = draw_seeds(near, "F1").axes[0]
    limits = whole.get_xlim()
    zoom_in(whole, near)
    assert whole.get_xlim() == limits
