"""Two towers on retrieval and zero-shot benchmarks, by the command: the scores that open_clip's own features give."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from skyeye.cli import main
from skyeye.config.load import load_model
from skyeye.data.formats.scenes.class_folders import class_words
from skyeye.eval.benchmarks.scenes import AID
from skyeye.eval.benchmarks.zero_shot import TEMPLATES
from skyeye.eval.results import read_scores
from skyeye.models.two_towers import TwoTowersProcessor
from skyeye.models.two_towers.build import tokenizer_of

CLASSES, SIZE = AID[:16], 32


@pytest.fixture(scope="module")
def open_clip():
    return pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Captions of twelve pictures in the layout of RSICD, and as many classes of AID as it takes, two pictures each."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def picture(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)

    entries = []
    for number in range(12):
        picture(root / "RSICD" / "images" / f"{number}.png")
        sentences = [{"raw": f"{number} boats near pier {letter} .", "tokens": []} for letter in "ab"]
        entries.append({"filename": f"{number}.png", "split": "test", "sentences": sentences})
    (root / "RSICD" / "dataset_rsicd.json").write_text(json.dumps({"images": entries}))
    for name in CLASSES:
        for number in range(2):
            picture(root / "AID" / "test" / name / f"{name.lower()}_{number}.png")
    return root


@pytest.fixture(scope="module")
def published(open_clip, tmp_path_factory):
    """A model of open_clip, its file, and the recipe that describes it."""
    torch.manual_seed(0)
    vision = {"image_size": SIZE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    model = open_clip.model.CLIP(12, vision, text, quick_gelu=True).eval()
    folder = tmp_path_factory.mktemp("published")
    torch.save(model.state_dict(), folder / "clip.pt")
    vocabulary = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    tower = {"architecture": "clip", "image_size": SIZE, "patch_size": 16, "width": 32, "depth": 2, "heads": 2}
    section = {
        "vision": {**tower, "mlp_ratio": 4.0, "resize": "crop"},
        "text": {"width": 16, "depth": 2, "heads": 2, "context": 20, "embedding": 12},
        "tokenizer": {"path": str(vocabulary)},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"model": section}))
    return model, folder


def evaluated(folder: Path, data: Path, out: Path, *benchmarks: str):
    arguments = ["--base", str(folder / "recipe.yaml"), "--data-root", str(data), "--out", str(out)]
    assert main(["eval", str(folder / "clip.pt"), "--benchmarks", *benchmarks, *arguments]) == 0
    return read_scores(out / "scores.json")


@torch.no_grad()
def test_scores_are_those_of_open_clip(open_clip, published, data, tmp_path):
    model, folder = published
    found = evaluated(folder, data, tmp_path / "out", "rsicd.retrieval", "aid.zero_shot").benchmarks
    section = load_model(folder / "recipe.yaml")
    processor = TwoTowersProcessor.from_config(section, tokenizer_of(section))
    tokenizer = open_clip.SimpleTokenizer(context_length=20)

    images = [data / "RSICD" / "images" / f"{number}.png" for number in range(12)]
    captions = [f"{number} boats near pier {letter} ." for number in range(12) for letter in "ab"]
    pictures = model.encode_image(torch.stack([processor.pixels(str(path)) for path in images]), normalize=True)
    nearness = (pictures @ model.encode_text(tokenizer(captions), normalize=True).T).numpy()
    order, back = np.argsort(-nearness, axis=1) // 2, np.argsort(-nearness, axis=0)
    recall = found["rsicd.retrieval"].metrics
    for k in (1, 5, 10):
        hits = [number in order[number, :k] for number in range(12)]
        assert recall[f"image_to_text R@{k}"].value == pytest.approx(100 * np.mean(hits), abs=1e-3)
        hits = [column // 2 in back[:k, column] for column in range(24)]
        assert recall[f"text_to_image R@{k}"].value == pytest.approx(100 * np.mean(hits), abs=1e-3)

    names = [class_words(name).lower() for name in sorted(CLASSES)]
    templates = [lambda name, words=words: words.replace("{}", name) for words in TEMPLATES]
    classifier = open_clip.build_zero_shot_classifier(model, tokenizer, names, templates)
    scenes = [data / "AID" / "test" / name / f"{name.lower()}_{n}.png" for name in sorted(CLASSES) for n in range(2)]
    pictures = model.encode_image(torch.stack([processor.pixels(str(path)) for path in scenes]), normalize=True)
    chosen = (pictures @ classifier).argmax(dim=1).numpy()
    accuracy = 100 * np.mean(chosen == np.repeat(np.arange(16), 2))
    assert found["aid.zero_shot"].metrics["accuracy"].value == pytest.approx(accuracy, abs=1e-3)
    assert found["aid.zero_shot"].counts["records"] == 32 and found["rsicd.retrieval"].counts["captions"] == 24
    assert found["aid.zero_shot"].metrics["accuracy"].shuffled_images is not None


def test_what_a_model_does_not_give_is_refused_by_name_and_skipped_in_a_suite(published, data, tmp_path, capfd):
    _, folder = published
    arguments = ["--base", str(folder / "recipe.yaml"), "--data-root", str(data), "--out", str(tmp_path / "all")]
    assert main(["eval", str(folder / "clip.pt"), "--benchmarks", "aid.scene", *arguments]) == 2
    assert "aid.scene scores text, and this model compares pictures with texts" in capfd.readouterr().err
    assert main(["eval", str(folder / "clip.pt"), "--suite", "all", "--no-controls", *arguments]) == 0
    assert set(read_scores(tmp_path / "all" / "scores.json").benchmarks) == {"rsicd.retrieval", "aid.zero_shot"}
    assert "aid.scene of suite all is skipped: it scores text" in capfd.readouterr().out


def test_templates_of_ones_own(published, data, tmp_path):
    _, folder = published
    arguments = ["--base", str(folder / "recipe.yaml"), "--data-root", str(data), "--out", str(tmp_path / "out")]
    main(
        [
            "eval",
            str(folder / "clip.pt"),
            "--benchmarks",
            "aid.zero_shot",
            "--prompt",
            "aid.zero_shot=aerial {}",
            *arguments,
        ]
    )
    protocol = read_scores(tmp_path / "out" / "scores.json").benchmarks["aid.zero_shot"].protocol
    assert protocol.question == "16 texts, the first: aerial airport" and "cosines" in protocol.decoding
    assert asdict(protocol)["family"] == "zero_shot"
