"""What a benchmark's folder lacks is said before hours are spent on it."""

import pytest
from benchmark_files import CHARADES, CHOICE, coco, save

from d2vlm_lab.cli import main
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.judging.benchmarks import BENCHMARKS
from d2vlm_lab.settings import from_dict


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "world"
    make_world(folder, from_dict(WorldConfig, {"videos": 30, "seed": 2}), workers=1)
    return folder


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_where_it_is_and_what_goes_where(name, capsys):
    assert main(["data", name]) == 0
    out = capsys.readouterr().out
    layout = BENCHMARKS[name]
    assert layout.page in out and any(file.split("/")[0] in out for file in layout.annotations)
    assert any(f"{videos}/" in out for videos in layout.videos)


def test_a_complete_folder_is_said_to_be_complete(world, capsys):
    assert main(["data", "world", str(world), "--all"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 videos are there" in out and "3 of the 3 videos that were tried open" in out


def test_missing_and_damaged_videos_are_counted_and_named(world, tmp_path, capsys):
    folder = tmp_path / "charades"
    coco(folder / "test.caption_coco_format.json",
         *({**CHARADES, "id": i, "image_id": f"{name}.mp4"} for i, name in enumerate(("good", "gone", "bad", "good"))))
    (folder / "videos").mkdir()
    (folder / "videos" / "good.mp4").write_bytes((world / "videos" / "test_00000.mp4").read_bytes())
    (folder / "videos" / "bad.mp4").write_bytes(b"no video at all")
    assert main(["data", "charades", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "4 questions about 3 videos" in out and "2 of 3 videos are there" in out and "missing: gone.mp4" in out
    assert "1 of the 2 videos that were tried open" in out and "bad.mp4: not a video" in out


def test_some_videos_are_opened_unless_all_are_wanted(world, tmp_path, capsys):
    folder = tmp_path / "charades"
    coco(folder / "test.caption_coco_format.json", *({**CHARADES, "id": i, "image_id": f"{i}.mp4"} for i in range(25)))
    (folder / "videos").mkdir()
    for i in range(25):
        (folder / "videos" / f"{i}.mp4").symlink_to(world / "videos" / "test_00000.mp4")
    assert main(["data", "charades", str(folder)]) == 0
    assert "20 of the 20 videos that were tried open (--all tries every one)" in capsys.readouterr().out
    assert main(["data", "charades", str(folder), "--all"]) == 0
    assert "25 of the 25 videos that were tried open\n" in capsys.readouterr().out


def test_tasks_of_mvbench_that_are_not_there_are_named(tmp_path, capsys):
    save(tmp_path / "json" / "action_sequence.json", [CHOICE])
    (tmp_path / "video").mkdir()
    assert main(["data", "mvbench", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "no such annotation file: action_prediction.json" in out and "and 11 more" in out
    assert "missing: star/Charades_v1_480/ZS9XR.mp4" in out


def test_a_folder_that_is_none_is_one_clear_error(tmp_path, capsys):
    assert main(["data", "videomme", str(tmp_path)]) == 2
    assert "videomme/test-00000-of-00001.parquet is missing" in capsys.readouterr().err
    (tmp_path / "test.json").write_text("[{}]")
    (tmp_path / "data").mkdir()
    assert main(["data", "videomme", str(tmp_path)]) == 2
    assert "test.json, sample 0" in capsys.readouterr().err
