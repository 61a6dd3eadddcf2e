"""A video that runs, as an animated picture."""

from pathlib import Path

import numpy as np
from PIL import Image

from d2vlm_lab.data.live.sources import SourceNote, TimedFrame
from d2vlm_lab.data.world import WorldConfig
from d2vlm_lab.data.world.make import sample_scenes
from d2vlm_lab.data.world.render import render
from d2vlm_lab.lab import load
from d2vlm_lab.lab.plots import draw_film

LIVE = Path(__file__).parents[2] / "data" / "tiny-live"


def test_a_film_has_a_picture_for_every_frame_and_one_for_the_end(tmp_path):
    config = WorldConfig(videos=1)
    pictures = render(sample_scenes(config)[0], config, np.random.default_rng(0))[:9]
    with load(LIVE).listen([(k / 2, picture) for k, picture in enumerate(pictures)]) as live:
        live.wait_for("describe every event and when it happens.")
        live.wait_for("when does the red disc spin?", words=False)
        film = draw_film(live, 4.5)
    drawn = [np.asarray(picture) for picture in film.pictures]
    frames = [item for item in drawn if item.std() > 0]
    assert len(frames) >= 10 and all((a != b).any() for a, b in zip(drawn[:9], drawn[1:9])), "each shows its own moment"
    with load(LIVE).listen(pictures) as live:
        live.items = [SourceNote(0.0, "stall", "nothing came for 2 s"), TimedFrame(0, 0.0, pictures[0])]
        assert len(draw_film(live, 4.5).pictures) == 2, "there is nothing to draw before the first frame"
    film.save(tmp_path / "film.webp")
    with Image.open(tmp_path / "film.webp") as saved:
        assert saved.is_animated and saved.n_frames >= 9 and saved.size == film.pictures[0].size
    assert film._repr_html_().startswith("<img") and "image/webp" in film._repr_html_()
