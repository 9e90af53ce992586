"""Cleaning of texts as the reference does it, one function per kind of data."""

from __future__ import annotations

import re

MAX_CAPTION_WORDS = 50


def caption_text(text: str) -> str:
    """MiniGPT-v2's caption processor: lower case, no sentence signs, single spaces, at most 50 words.

    For captions, answers of VQA, referring expressions and text-only samples; conversations, grounding and detection
    keep their text.
    """
    text = re.sub(r'[.!"()*#:;~]', " ", text.lower())
    text = re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")
    words = text.split(" ")
    return " ".join(words[:MAX_CAPTION_WORDS])


def first_question(text: str) -> str:
    """First question of a conversation: without ``<image>``, line ends and outer blanks. Later questions are kept."""
    return text.replace("<image>", "").replace("\n", "").strip()
