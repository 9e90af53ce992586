"""Whether vLLM says what our engine says: about tiny models, one exported as a plain LLaVA folder, others merged.

    python scripts/vllm_agrees.py make OUT                   # where skyeye is installed
    OTHER/bin/python scripts/vllm_agrees.py compare OUT      # in an environment of its own: docs/serving.md
    OTHER/bin/python scripts/vllm_agrees.py compare OUT NAME [--tensor-parallel-size 2 ...]     # one model

The first writes the folders, pictures, chats, their prompts as token ids, and the greedy answers of our engine with the
log-probability of each token. The second asks vLLM, and ends with 1 where it disagrees. The plain LLaVA folder is asked
with the same ids and without the plugin. The others are served by ``vllm serve FOLDER`` and asked over HTTP by their
messages, as any client would: ids, answers, log-probabilities and texts are compared. Further words are for it.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PICTURES = ("0.png", "1.png", "2.png", "3.png")
#: Of 16 bits, and with alpha: the plugin reads them by our rules, a plain LLaVA folder is none of ours.
ODD_PICTURES = ("deep.png", "alpha.png")
QUESTIONS = ("how many ships are there ?", "where are they ?", "what is the scene ?")
TOKENS = 16
#: Largest difference of a log-probability in float32.
TOLERANCE = 1e-3
#: Seconds for vLLM to start.
STARTING = 480

_LLAMA = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
_LLAMA |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
#: Name -> sections of the model; ``plain`` is exported as a folder of LlavaForConditionalGeneration.
MODELS: dict[str, dict[str, Any]] = {
    "plain": {
        "vision": {"architecture": "clip", "layers": [-2], "resize": "pad", "mlp_ratio": 4.0},
        "vision_norm": False,
        "projector": {"type": "mlp", "join_tokens": 1},
        "language": _LLAMA,
        "prompt": {"style": "llava_v1", "pad_token": None},
    },
    "minigpt_v2": {
        "vision": {"architecture": "eva", "mlp_ratio": 2.0},
        "vision_norm": True,
        "projector": {"type": "linear", "join_tokens": 4},
        "language": _LLAMA,
        "prompt": {"style": "minigpt_v2"},
    },
    "two_towers": {
        "vision": [
            {"architecture": "clip", "layers": [1, -1], "mlp_ratio": 2.0},
            {"architecture": "eva", "mlp_ratio": 2.0, "image_size": 28},
        ],
        "vision_norm": False,
        "projector": {"type": "mlp", "join_tokens": 1},
        "language": _LLAMA | {"model_type": "qwen2", "tie_word_embeddings": True},
        "prompt": {
            "style": "chat_template",
            "pad_token": None,
            "system": "be short",
            "chat_template": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}$$\n{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        },
    },
}
#: What stands in the words of a chat besides ordinary questions: nothing of it may become another id than ours.
_ODD = "two  spaces <unk> $$ <ImageHer> 飞机 é\n\n {<10><20>}  ?"


def chats(system: bool, odd_pictures: bool) -> list[tuple[list[str], list[dict[str, Any]], str | None]]:
    """(pictures, messages, task) of each chat; pictures stand before the first question."""
    found: list[tuple[list[str], list[dict[str, Any]], str | None]] = []
    for picture in [*PICTURES, *(ODD_PICTURES if odd_pictures else ())]:
        found += [([picture], [{"role": "user", "content": question}], None) for question in QUESTIONS]
    talk = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "two ships"}]
    found.append((["0.png"], [*talk, {"role": "user", "content": QUESTIONS[1]}], None))
    found.append((["1.png"], [{"role": "user", "content": f"[refer] {_ODD}"}], None))
    found.append((["2.png"], [{"role": "user", "content": "the white ship"}], "refer"))
    found.append((["0.png", "1.png"], [{"role": "user", "content": "which one has more ?"}], None))
    found.append(([], [{"role": "user", "content": "say something"}], None))
    if system:
        talk = [{"role": "system", "content": _ODD}, {"role": "user", "content": QUESTIONS[2]}]
        found.append((["3.png"], talk, None))
    return found


def make(out: Path) -> None:
    """Write the folders and our answers."""
    import numpy as np
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name in PICTURES:  # as large as the tower's input: a plain LLaVA folder is resized by others' code
        Image.fromarray(random.integers(0, 255, (56, 56, 3), dtype=np.uint8)).save(out / name)
    Image.fromarray(random.integers(0, 3000, (40, 70), dtype=np.uint16)).save(out / ODD_PICTURES[0])
    Image.fromarray(random.integers(0, 255, (40, 70, 4), dtype=np.uint8)).save(out / ODD_PICTURES[1])
    for name in MODELS:
        _make(out, out / name, name)
        print(f"written: {out / name}: {len(json.loads((out / name / 'ours.json').read_text()))} chats")


def _make(out: Path, folder: Path, name: str) -> None:
    from skyeye.data.record import Turn
    from skyeye.data.tasks import FREE
    from skyeye.models.converters.llava_hf import export_llava_hf
    from skyeye.models.pretrained import open_checkpoint
    from skyeye.serve.export.formats import Exporting, export

    _write_checkpoint(folder / "ours", MODELS[name])
    model, processor = open_checkpoint(folder / "ours")
    model.eval()
    if name == "plain":
        export_llava_hf(folder / "ours", folder / "export", dtype="fp32")
    else:
        export(folder / "ours", folder / "export", Exporting(merged=True, dtype="fp32"))
    asked = []
    for pictures, messages, task in chats(processor.builder.style.has_system, name != "plain"):
        said = [each["content"] for each in messages if each["role"] != "system"]
        turns = [Turn(question, answer) for question, answer in zip(said[::2], [*said[1::2], ""], strict=True)]
        first, *later = [*turns[:-1], Turn(turns[-1].question, "", task or FREE)]
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        ids = processor.builder.prompt(
            len(pictures), [Turn(first.question, first.answer, first.task, (), system), *later]
        )
        features = _features(model, processor, [out / file for file in pictures])
        answer = _answer(model, processor, ids, features)
        logs = answer.log_probabilities
        if name == "plain":
            logs = _among_added_rows(model, ids, answer.ids, features, folder / "export/config.json")
        asked.append({"pictures": pictures, "messages": messages, "task": task, "ids": ids})
        asked[-1] |= {"answer": answer.ids, "log_probabilities": logs, "text": processor.decode(answer.ids)}
    (folder / "ours.json").write_text(json.dumps(asked, indent=1))


def _write_checkpoint(folder: Path, sections: dict[str, Any]) -> None:
    import torch

    from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, PromptConfig, VisionConfig
    from skyeye.models.build import build_model
    from skyeye.models.processing import SkyEyeProcessor
    from skyeye.models.projectors import projector_settings
    from skyeye.models.save import save_checkpoint
    from skyeye.models.tokenizer import train_tokenizer

    torch.manual_seed(0)
    sizes = {"image_size": 56, "patch_size": 14, "width": 32, "depth": 3, "heads": 2}
    several = isinstance(sections["vision"], list)
    towers = [VisionConfig(**sizes | tower) for tower in (sections["vision"] if several else [sections["vision"]])]
    words = [*QUESTIONS, "two ships", "USER: ASSISTANT: A chat between a curious user", "<|user|> <|assistant|>"]
    tokenizer = train_tokenizer(words * 3, 600)
    config = ModelConfig(
        vision=towers if several else towers[0],
        vision_norm=sections["vision_norm"],
        projector=projector_settings(sections["projector"]),
        language=LanguageConfig(config=sections["language"]),
        lora=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        prompt=PromptConfig(**sections["prompt"]),
    )
    model = build_model(config, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
        # never the likeliest: bytes, which a random model strings into what is no text and everybody writes otherwise
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        bytes_ = [id for id, piece in enumerate(pieces) if piece.startswith("<0x")]
        model.get_output_embeddings().weight[bytes_] = 0.0
    processor = SkyEyeProcessor.from_config(config, tokenizer)
    save_checkpoint(folder, model, model.state_dict(), processor=processor)


def _features(model: Any, processor: Any, pictures: list[Path]) -> Any:
    """Image tokens of the pictures of a prompt; None without."""
    import torch

    if not pictures:
        return None
    with torch.no_grad():
        return model.encode_images(torch.stack([processor.pixels(picture) for picture in pictures]))


def _answer(model: Any, processor: Any, ids: list[int], features: Any) -> Any:
    """Our answer to a prompt."""
    from skyeye.generation.engine import answer_groups
    from skyeye.generation.requests import PromptGroup
    from skyeye.generation.sampling import Sampling

    group = PromptGroup([ids], features, [TOKENS], [Sampling(log_probabilities=True)])
    [answer] = answer_groups(model, [group], rows=1, eos_token_id=processor.builder.end_token_ids)
    return answer


def _among_added_rows(model: Any, ids: list[int], answer: list[int], features: Any, config: Path) -> list[float]:
    """Log-probabilities of an answer in the vocabulary of a plain LLaVA folder: its image token has made rows needed,
    which are the mean of the others and take some probability."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *answer]]), image_features=features).logits[0, len(ids) - 1 : -1]
    added = json.loads(config.read_text())["text_config"]["vocab_size"] - logits.shape[-1]
    whole = torch.cat([logits, logits.mean(-1, keepdim=True).expand(-1, added)], dim=-1).log_softmax(-1)
    return whole.gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()


def compare(out: Path, names: list[str], options: list[str]) -> int:
    """Ask vLLM; 1 where it disagrees."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    wrong = 0
    for name in names:
        asked = json.loads((out / name / "ours.json").read_text())
        told = _ask_plain(out, asked) if name == "plain" else _ask_server(out, name, asked, options)
        wrong += _differences(name, asked, told)
    return 1 if wrong else 0


def _ask_plain(out: Path, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What vLLM says to the same ids, with an image token of its own for each picture."""
    from PIL import Image
    from vllm import LLM, SamplingParams

    model = LLM(str(out / "plain/export"), dtype="float32", enforce_eager=True, max_model_len=512, seed=0)
    image_id = json.loads((out / "plain/export/config.json").read_text())["image_token_index"]
    prompts = []
    for each in asked:
        prompts.append({"prompt_token_ids": _once(each["ids"], image_id, len(each["pictures"]))})
        if each["pictures"]:
            prompts[-1]["multi_modal_data"] = {"image": [Image.open(out / file) for file in each["pictures"]]}
    found = []
    for output in model.generate(prompts, SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=0)):
        said = output.outputs[0]
        steps = zip(said.logprobs, said.token_ids, strict=True)
        found.append({"answer": list(said.token_ids), "log_probabilities": [step[id].logprob for step, id in steps]})
        found[-1]["text"] = said.text
    return found


def _once(ids: list[int], image_id: int, pictures: int) -> list[int]:
    """A prompt with one image token for each picture."""
    if not pictures:
        return ids
    first, places = ids.index(-1), ids.count(-1)
    return [*ids[:first], *[image_id] * pictures, *ids[first + places :]]


def _ask_server(out: Path, name: str, asked: list[dict[str, Any]], options: list[str]) -> list[dict[str, Any]]:
    """What ``vllm serve`` says to the messages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what `vllm serve` starts; that command itself asks for the metadata of a package that vllm-cpu is not
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(out / name / "export")]
    command += ["--port", str(port), "--served-model-name", name, "--dtype", "float32", "--enforce-eager", *options]
    log = (out / name / "vllm.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", out / name / "vllm.log")
        told = [_ask(f"http://127.0.0.1:{port}/v1/chat/completions", name, out, each) for each in asked]
        print(f"{name}: {_cached_tokens(f'http://127.0.0.1:{port}/metrics')} tokens came from the cache of prefixes")
        return told
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + STARTING
    while time.monotonic() < ends and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            time.sleep(1)
    sys.exit(f"vLLM has not started; the end of {log}:\n{log.read_text()[-3000:]}")


def _cached_tokens(url: str) -> int:
    """Tokens of prompts that were not computed again; there are some where prompts share a block (``--block-size``)."""
    lines = urllib.request.urlopen(url, timeout=30).read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total")))


def _ask(url: str, name: str, out: Path, each: dict[str, Any]) -> dict[str, Any]:
    """An answer, with nothing said of a temperature."""
    messages = json.loads(json.dumps(each["messages"]))
    first = next(message for message in messages if message["role"] == "user")
    files = [base64.b64encode((out / file).read_bytes()).decode() for file in each["pictures"]]
    shown = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{file}"}} for file in files]
    first["content"] = [*shown, {"type": "text", "text": first["content"]}]
    body = {"model": name, "messages": messages, "max_tokens": TOKENS, "logprobs": True, "return_token_ids": True}
    if each["task"]:
        body["chat_template_kwargs"] = {"task": each["task"]}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        said = json.load(urllib.request.urlopen(request, timeout=300))
    except urllib.error.HTTPError as error:
        sys.exit(f"{each['messages']}: {error.read().decode()}")
    choice = said["choices"][0]
    return {
        "answer": choice["token_ids"],
        "log_probabilities": [step["logprob"] for step in choice["logprobs"]["content"]],
        "text": choice["message"]["content"],
        "ids": said["prompt_token_ids"],
    }


def _differences(name: str, asked: list[dict[str, Any]], told: list[dict[str, Any]]) -> int:
    """How many answers differ from ours; they are printed."""
    differing, largest, texts = 0, 0.0, 0
    for ours, said in zip(asked, told, strict=True):
        filler = 0  # what the plugin writes in the places of image tokens
        prompts = said.get("ids", []), [filler if id == -1 else id for id in ours["ids"]]
        if "ids" in said and prompts[0] != prompts[1]:
            differing += 1
            print(f"{ours['messages']}: asked with {prompts[1]}, vLLM with {prompts[0]}")
        elif said["answer"] != ours["answer"]:
            differing += 1
            print(f"{ours['messages']}: ours {ours['answer']}, vLLM {said['answer']}")
        else:
            pairs = zip(said["log_probabilities"], ours["log_probabilities"], strict=True)
            largest = max([largest, *(abs(a - b) for a, b in pairs)])
        same = said["text"].strip() == ours["text"]
        texts += same
        if not same:  # no disagreement: docs/serving.md says what is written otherwise
            print(f"{ours['messages']}: the text of ours {ours['text']!r}, of vLLM {said['text']!r}")
    print(
        f"{name}: {len(asked)} answers, {differing} differ; largest difference of a log-probability {largest:.2e};"
        f" {texts} texts are the same but for outer blanks"
    )
    return differing + (largest > TOLERANCE)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["make"] and len(words) == 2:
        make(Path(words[1]))
    elif words[:1] == ["compare"] and len(words) > 1 and set(words[2:3]) <= set(MODELS):
        sys.exit(compare(Path(words[1]), words[2:3] or list(MODELS), words[3:]))
    else:
        sys.exit(__doc__)
