"""One record of each public annotation file, and how tests write such files."""

import json

CHARADES = {"image_id": "3MSZA.mp4", "caption": "person turn a light on.", "id": 3, "timestamp": [24.3, 30.4],
            "duration": 30.96}
RECIPE = {"image_id": "val/101/xHr8X2Wpmno.mp4", "id": 0, "duration": 311.77, "segments": [[90, 102], [114.5, 127]],
          "pure_cap": "pick the ends off the beans. combine egg and flour", "caption": "90.0 - 102.0 seconds, ..."}
CHOICE = {"video": "ZS9XR.mp4", "question": "What happened after?", "candidates": ["Ate it.", "Tidied up.", "Left."],
          "answer": "Tidied up.", "start": 11.1, "end": 19.6}
MME = {"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Geography",
       "url": "https://www.youtube.com/watch?v=fFjv93ACGo8", "videoID": "fFjv93ACGo8", "question_id": "001-1",
       "task_type": "Counting Problem", "question": "How many?",
       "options": ["A. One.", "B. Two.", "C. Three.", "D. None."], "answer": "C"}
TIMELENS = {"3MSZA": {"duration": 30.96, "spans": [[24.3, 30.4], [0.0, 5.5]],
                      "queries": ["A person turns on the light.", "the  person\nopens a door"]}}
WINDOWS = {"qid": 8737, "query": "A family is playing basketball together on a green court outside.", "duration": 126,
           "vid": "bP5KfdFJzC4_660.0_810.0", "relevant_windows": [[0, 16], [40, 52]],
           "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 1, 1], [4, 1, 1]]}


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def coco(path, *records):
    return save(path, {"annotations": list(records)})
