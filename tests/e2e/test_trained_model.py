"""From behaviour to pages: a version is trained by the command line, and the demo's pages are ranked by it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import NOW, PATTERNS, TOPICS

RECIPE = """
loss = "in_batch_softmax"
adapted_layers = [5]
most_steps = 2
batch_slates = 4

[layout]
max_user_tokens = 32
split_depth = 6
"""


def write_data(folder: Path) -> Path:
    """Forty items of two topics, and twenty users who click what is of theirs."""
    folder.mkdir()
    topics = list(TOPICS)[:2]
    titles = {
        f"{topic}-{number}": PATTERNS[number // 5].format(TOPICS[topic][number % 5])
        for topic in topics
        for number in range(20)
    }
    items = [
        {"item_id": key, "title": title, "category": key.partition("-")[0], "published_at": NOW - 86400.0}
        for key, title in titles.items()
    ]
    slates = []
    for number in range(60):
        mine, other = topics[number % 2], topics[1 - number % 2]
        clicked = [f"{mine}-{(number + step) % 20}" for step in range(5)]
        history = [{"item_id": key, "action": "click", "time": NOW - 900 + number} for key in clicked[:4]]
        shown = [{"item_id": clicked[4], "label": 1}, {"item_id": f"{other}-{number % 20}", "label": 0}]
        slates.append(
            {
                "impression_id": str(number),
                "user_id": f"reader-{number % 20}",
                "time": NOW - 600 + number,
                "history": history,
                "candidates": shown,
            }
        )
    for name, rows in {"items": items, "impressions.all": slates}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def homepage(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "services.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_what_is_trained_ranks_the_pages_of_the_demo(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    told = homepage(tmp_path, "train", "--data", data, "--recipe", "recipe.toml", "--version", "v1")
    for row in ("default/v1", "zero-shot", "popularity"):
        assert f"| {row} |" in told
    shown = homepage(tmp_path, "demo", "--data", data, "--model", "default/v1", "--json", tmp_path / "shown.json")
    assert "default/v1 ranks" in shown
    scenes = json.loads((tmp_path / "shown.json").read_text())["scenes"]
    versions = {scene[when]["page"]["versions"]["model"] for scene in scenes for when in ("before", "after")}
    assert versions == {"v1"}
