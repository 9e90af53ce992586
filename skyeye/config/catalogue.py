"""The models of the field that are run, trained and measured here, by name: ``skyeye models list``.

Also what ``skyeye models show``, ``skyeye chat NAME --weights FOLDER`` and the page docs/model_list.md go by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import skyeye
from skyeye.config.hints import did_you_mean
from skyeye.config.load import load_model
from skyeye.config.schema import ModelConfig
from skyeye.errors import SkyEyeError

#: How equality with the original is shown: its code was run at tiny size; the library that defines it is the test; only
#: its description in a paper was at hand.
Proof = Literal["golden", "library", "paper only"]
PROOFS = {
    "golden": "outputs of the original's code at tiny size (pytest -m golden)",
    "library": "the library that defines it",
    "paper only": "its paper: no code, or no weights, to compare with",
}
_GIB = 2**30
_NF4 = 0.53  # bytes a weight in 4 bits, with its scales


@dataclass(frozen=True)
class CataloguedModel:
    """One model of the field.

    Attributes:
        name: what commands call it.
        what: in one sentence.
        recipe: its file in ``configs/``.
        files: what a person needs, and where it is published.
        licence: of code and weights; that of the language model comes on top.
        language: billions of weights of the language model.
        others: billions of weights of everything else, which stays in 16 bits.
        tasks: what it was trained to be asked; of two towers, what they are compared by.
        boxes: how it writes boxes, a name of ``model.prompt.boxes``; None: it writes none.
        proof: how equality with the original is shown.
        family: what the loader of published files is told; None: their own words suffice.
        weights: whether trained weights were published.
    """

    name: str
    what: str
    recipe: str
    files: tuple[str, ...]
    licence: str
    language: float
    others: float
    tasks: tuple[str, ...]
    boxes: str | None
    proof: Proof
    family: str | None = None
    weights: bool = True

    @property
    def memory(self) -> tuple[float, float]:
        """GiB of the weights in bf16, and with the language model in 4 bits; keys, values and images come on top. Two
        towers are held in float32."""
        if self.two_towers:
            return 4e9 * self.others / _GIB, 4e9 * self.others / _GIB
        return 2e9 * (self.language + self.others) / _GIB, 1e9 * (_NF4 * self.language + 2 * self.others) / _GIB

    @property
    def two_towers(self) -> bool:
        """Whether it compares pictures with texts, and has no language model."""
        return self.language == 0

    @property
    def base(self) -> ModelConfig | None:
        """What its published files do not say, where they say nothing: of two towers, their sizes and activation."""
        return load_model(self.path) if self.two_towers else None

    @property
    def path(self) -> Path:
        """Its recipe on this machine.

        Raises:
            SkyEyeError: the recipes were not installed with the package.
        """
        path = Path(skyeye.__file__).parents[1] / "configs" / self.recipe
        if not path.is_file():
            what = "the recipes are not beside the package"
            raise SkyEyeError(what, where=str(path), remedy="run it from a clone of the repository")
        return path


_CLIP = "openai/clip-vit-large-patch14-336"
_CLIP_L = "openai/clip-vit-large-patch14"
_VICUNA = "lmsys/vicuna-7b-v1.5"
_LLAVA_TASKS = ("caption", "vqa", "conversation")
_COMPARED = ("retrieval", "zero-shot classification")
_NOTHING = "no code or weights to have one"


def _towers(name: str, what: str, file: str, weights: float, licence: str, proof: Proof = "golden") -> CataloguedModel:
    """A published CLIP."""
    words = f"{what}: pictures and texts in one space"
    files = (file, "CLIP's words: openai/clip-vit-base-patch32 or bpe_simple_vocab_16e6.txt.gz")
    return CataloguedModel(name, words, f"models/{name}.yaml", files, licence, 0, weights, _COMPARED, None, proof)


MODELS: dict[str, CataloguedModel] = {
    model.name: model
    for model in (
        CataloguedModel(
            "skyeyegpt",
            "EVA-CLIP and LLaMA-2-7B-chat joined by one linear layer; SkyEye-968k",
            "skyeyegpt_released.yaml",
            ("SkyEyeGPT.pth (docs/released_weights.md)", "eva_vit_g.pth", "meta-llama/Llama-2-7b-chat-hf"),
            "see its repository",
            6.74,
            1.01,
            ("caption", "vqa", "classification", "refer", "grounding", "conversation"),
            "skyeye",
            "golden",
        ),
        CataloguedModel(
            "rs_llava",
            "LLaVA-1.5 on neural-chat-7b, LoRA; captions and questions of four data sets",
            "models/rs_llava.yaml",
            ("BigData-KSU/RS-llava-v1.5-7b-LoRA", "Intel/neural-chat-7b-v3-3", _CLIP),
            "CC-BY-NC-4.0",
            7.24,
            0.31,
            _LLAVA_TASKS,
            None,
            "golden",
            "rs_llava",
        ),
        CataloguedModel(
            "llava_uav",
            "LLaVA-1.5-7B tuned on UAVIT-1M, pictures from drones",
            "models/llava_uav.yaml",
            ("ZhanYang-nwpu/LLaVA1.5-UAV", _CLIP),
            "see its repository",
            6.74,
            0.31,
            ("caption", "vqa", "classification", "refer", "detection", "identify"),
            "skyeye",
            "golden",
            "llava_uav",
        ),
        CataloguedModel(
            "vhm",
            "VHM (H2RSVLM): three levels of CLIP joined, everything trained on VersaD, then honesty questions",
            "models/vhm.yaml",
            ("FitzPC/vhm_7B with its folder vision_tower/",),
            "code Apache-2.0, data and weights CC-BY-NC",
            6.74,
            0.33,
            ("caption", "vqa", "classification", "refer"),
            "vhm",
            "golden",
            "vhm",
        ),
        CataloguedModel(
            "geochat",
            "LLaVA-1.5 at 504 px, LoRA; regions and turned boxes",
            "models/geochat.yaml",
            ("MBZUAI/geochat-7B", _CLIP),
            "Apache-2.0 in its pyproject, no licence file",
            6.74,
            0.31,
            (*_LLAVA_TASKS, "classification", "refer", "identify", "grounding"),
            "geochat",
            "golden",
            "geochat",
        ),
        CataloguedModel(
            "geochat_uav",
            "GeoChat's classes tuned on UAVIT-1M, pictures from drones",
            "models/geochat_uav.yaml",
            ("ZhanYang-nwpu/GeoChat-UAV", _CLIP),
            "see its repository",
            6.74,
            0.31,
            ("caption", "vqa", "classification", "refer", "detection", "identify"),
            "skyeye",
            "golden",
            "geochat_uav",
        ),
        CataloguedModel(
            "skysensegpt",
            "GeoChat's classes tuned on FIT-RS: relations and scene graphs, turned boxes",
            "models/skysensegpt.yaml",
            ("ll-13/SkySenseGPT-7B-CLIP-ViT", _CLIP),
            "see its repository",
            6.74,
            0.31,
            (*_LLAVA_TASKS, "classification", "refer", "grounding"),
            "geochat",
            "golden",
            "geochat",
        ),
        CataloguedModel(
            "lhrs_bot",
            "LHRS-Bot: an attention pooler over three levels of CLIP, LLaMA-2-7B-chat with LoRA, three stages",
            "models/lhrs_bot.yaml",
            ("LHRS-Bot Stage3: FINAL.pt with TextLoRA/", "meta-llama/Llama-2-7b-chat-hf"),
            "Apache-2.0",
            6.74,
            0.36,
            (*_LLAVA_TASKS, "classification", "refer", "identify"),
            "fractions",
            "golden",
            "lhrs",
        ),
        CataloguedModel(
            "lhrs_bot_nova",
            "LHRS-Bot-Nova: SigLIP at 384 px, 272 queries, four experts, Llama-3-8B-Instruct (words not compared)",
            "models/lhrs_bot_nova.yaml",
            ("LHRS-Bot-Nova: FINAL.pt with TextLoRA/", "meta-llama/Meta-Llama-3-8B-Instruct"),
            "Apache-2.0",
            8.03,
            0.69,
            (*_LLAVA_TASKS, "classification", "refer", "identify"),
            "bbox",
            "golden",
            "lhrs",
        ),
        CataloguedModel(
            "rsgpt",
            "RSGPT: InstructBLIP, whose Q-Former reads the question, on the captions of RSICap",
            "models/rsgpt.yaml",
            ("eva_vit_g.pth", "instruct_blip_vicuna7b_trimmed.pth", "lmsys/vicuna-7b-v1.1", "bert-base-uncased"),
            "BSD-3 (LAVIS)",
            6.74,
            1.18,
            ("caption", "vqa"),
            None,
            "golden",
            "rsgpt",
            weights=False,
        ),
        CataloguedModel(
            "rs_capret",
            "RS-CapRet: a frozen LLaMA-2-7B that captions and retrieves; linear maps and a [RET] token are trained",
            "models/rs_capret.yaml",
            (_CLIP_L, "meta-llama/Llama-2-7b-hf"),
            _NOTHING,
            6.74,
            0.31,
            ("caption",),
            None,
            "paper only",
            weights=False,
        ),
        CataloguedModel(
            "earthgpt",
            "EarthGPT: DINOv2 and CLIP ConvNeXt joined, one linear layer, LLaMA-2; optical, SAR and infrared (MMRS-1M)",
            "models/earthgpt.yaml",
            ("towers of timm, by name", "meta-llama/Llama-2-7b-hf"),
            _NOTHING,
            6.74,
            0.51,
            (*_LLAVA_TASKS, "classification", "refer", "detection", "grounding"),
            "fractions",
            "paper only",
            weights=False,
        ),
        CataloguedModel(
            "popeye",
            "Popeye: EarthGPT's idea for ships, upright and turned boxes (MMShip); without its masks, which SAM makes",
            "models/popeye.yaml",
            ("towers of timm, by name", "huggyllama/llama-7b"),
            _NOTHING,
            6.74,
            0.51,
            ("caption", "refer", "detection", "conversation"),
            "geochat",
            "paper only",
            weights=False,
        ),
        _towers(
            "remoteclip", "RemoteCLIP ViT-B/32", "RemoteCLIP-ViT-B-32.pt (chendelong/RemoteCLIP)", 0.151, "Apache-2.0"
        ),
        _towers(
            "remoteclip_l14",
            "RemoteCLIP ViT-L/14",
            "RemoteCLIP-ViT-L-14.pt (chendelong/RemoteCLIP)",
            0.428,
            "Apache-2.0",
        ),
        _towers(
            "remoteclip_rn50",
            "RemoteCLIP RN50, a ResNet pooled by attention",
            "RemoteCLIP-RN50.pt (chendelong/RemoteCLIP)",
            0.102,
            "Apache-2.0",
            proof="library",
        ),
        _towers("georsclip", "GeoRSCLIP ViT-B/32", "RS5M_ViT-B-32.pt (om-ai-lab/RS5M)", 0.151, "MIT"),
        _towers("georsclip_h14", "GeoRSCLIP ViT-H/14, GELU", "RS5M_ViT-H-14.pt (om-ai-lab/RS5M)", 0.986, "MIT"),
        _towers(
            "skyclip",
            "SkyCLIP ViT-L/14",
            "SkyCLIP_ViT_L14_top30pct (wangzhecheng/SkyScript)",
            0.428,
            "see its repository",
        ),
        CataloguedModel(
            "graft",
            "GRAFT: the pictures' side of CLIP ViT-B/16 trained on satellite pictures, beside that CLIP's texts",
            "models/graft.yaml",
            ("graft_sentinel.ckpt (graft.cs.cornell.edu)", "openai/clip-vit-base-patch16"),
            "not stated",
            0,
            0.150,
            _COMPARED,
            None,
            "library",
        ),
        CataloguedModel(
            "pe_rsitr",
            "PE-RSITR: OpenAI's CLIP ViT-B/32 with one adapter shared by both towers",
            "models/pe_rsitr.yaml",
            ("openai/clip-vit-base-patch32",),
            "see its repository",
            0,
            0.151,
            _COMPARED,
            None,
            "paper only",
            weights=False,
        ),
    )
}

#: Models of the field that cannot be run here -> why.
NOT_REPRODUCIBLE = {
    "remoteglm": "RemoteGLM (lzw-lzw/RemoteGLM): its repository holds shell scripts for VisualGLM-6B in the"
    " library SAT, and neither code of a model nor weights; there is nothing to run and nothing to compare with",
}


def find_model(name: str) -> CataloguedModel:
    """The model of that name.

    Raises:
        SkyEyeError: there is none.
    """
    if name in NOT_REPRODUCIBLE:
        raise SkyEyeError(NOT_REPRODUCIBLE[name], where=name, remedy="skyeye models list shows what can be run")
    if name not in MODELS:
        raise SkyEyeError(
            f"no model of the list is called {name!r}{did_you_mean(name, list(MODELS))}",
            remedy="skyeye models list shows their names",
        )
    return MODELS[name]


def table() -> str:
    """The list as a table in Markdown: what ``skyeye models list`` prints and docs/model_list.md holds."""
    head = "| name | what it is | files | licence | GiB bf16 / 4 bit | tasks | boxes | shown equal by |"
    lines = [head, "|" + "---|" * 8]
    for model in MODELS.values():
        whole, small = model.memory
        files = ("" if model.weights else "no weights were published; parts: ") + "; ".join(model.files)
        memory = f"{whole:.1f} in fp32" if model.two_towers else f"{whole:.1f} / {small:.1f}"
        cells = [model.name, model.what, files, model.licence, memory, ", ".join(model.tasks)]
        lines.append("| " + " | ".join([*cells, model.boxes or "none", model.proof]) + " |")
    return "\n".join(lines)


def not_reproducible() -> str:
    """What stands below the table: models that cannot be run, each with the reason."""
    return "\n".join(f"- not reproducible: {reason}" for reason in NOT_REPRODUCIBLE.values())
