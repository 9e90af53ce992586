"""Whoever answers questions about pictures: our own engine, a model of transformers, a server."""

from skyeye.generation.answerers.base import Answerer, Reply, ServerSettings, Words

__all__ = ["Answerer", "Reply", "ServerSettings", "Words"]
