"""What a stage of training asks of the model: the answers and, where parts start from nothing, the alignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skyeye.config.schema import AlignmentConfig
from skyeye.errors import SkyEyeError
from skyeye.models.info_nce import info_nce
from skyeye.models.losses import IGNORE_INDEX, NUMBERS, BoxReader, word_loss
from skyeye.models.modeling import SkyEyeForConditionalGeneration

#: How the parameter names of the model begin here; the others are those of the objective's own layers.
MODEL = "model."


class TrainingObjective(nn.Module):
    """A model with the losses of one stage around it: this is what is trained, ``model`` is what is saved and used.

    Its two linear layers, if any, are trained with the model and belong to no saved model.

    Args:
        model: with its trained parts chosen.
        answers: False leaves the answers out, and with them the language model's forward pass.
        contrastive: weight of InfoNCE between pictures and captions, of a model with a retrieval part.
        alignment: weights of the word-region alignment.
        box_token_smoothing: soft targets for box numbers, see :func:`skyeye.models.losses.token_loss`.
        box_token_noise: share of the box numbers in the answers that are replaced by random ones where the model reads
            them (not where it is to predict them). Otherwise only the first number of a box has to be found from the
            question: the others follow from the ones before.
        box_token_ids: ids of <0> .. <100>, needed by ``box_token_smoothing`` and ``box_token_noise``.

    Raises:
        SkyEyeError: soft or noisy numbers without these ids.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        *,
        answers: bool = True,
        contrastive: float = 0.0,
        alignment: AlignmentConfig | None = None,
        box_token_smoothing: float = 0.0,
        box_token_noise: float = 0.0,
        box_token_ids: Sequence[int] | None = None,
    ):
        super().__init__()
        if (box_token_smoothing > 0 or box_token_noise > 0) and not box_token_ids:
            raise SkyEyeError(
                "soft or noisy box numbers need numbers that are single tokens",
                where="box_token_smoothing, box_token_noise",
                remedy="set model.tokenizer.box_tokens: true, or both to 0",
            )
        hidden_size = model.config.text_config.hidden_size
        self.model = model
        self.answers, self.alignment = answers, alignment or AlignmentConfig()
        self.contrastive = contrastive
        self.box_token_smoothing, self.box_token_noise = box_token_smoothing, box_token_noise
        self.box_token_ids = None if not box_token_ids else torch.tensor(box_token_ids)
        self.region_reader = BoxReader(hidden_size) if self.alignment.boxes else None
        self.phrase_reader = BoxReader(hidden_size) if self.alignment.phrases else None
        self.training = model.training

    @property
    def number_targets(self) -> dict:
        """What a loss of tokens needs to know about box numbers (:func:`skyeye.models.losses.token_loss`)."""
        return {"box_token_ids": self.box_token_ids, "box_token_smoothing": self.box_token_smoothing}

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        question_ids: torch.Tensor | None = None,
        region_words: torch.Tensor | None = None,
        region_boxes: torch.Tensor | None = None,
        phrase_boxes: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
        paired: torch.Tensor | None = None,
        *,
        counts: Mapping[str, int] | None = None,
        **layout: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of a micro-batch: a scalar.

        Args:
            input_ids, labels, pixel_values, patches, question_ids: as the model takes them.
            region_words, region_boxes: (N, tokens_per_image, K) ids and (N, tokens_per_image, 4) numbers, what each
                image token shows, padded with -100; read where the stage gives the alignment a weight.
            phrase_boxes: (B, T, 4), the box of the object that is named at a token of a question; -100 elsewhere.
            caption_ids, paired: (N, L) ids of a caption of each image, and (N,), which of them are compared; where the
                stage gives ``contrastive`` a weight.
            counts: what each loss is divided by, where it is more than 0: ``labels``, and the names of these three;
                None: by what the batch holds.
            layout: of the rows, as :meth:`~skyeye.models.modeling.SkyEyeForConditionalGeneration.predict`
                takes it.
        """
        if pixel_values is not None:
            patches = self.model.encode_patches(pixel_values)
        pairs = self.pairs(patches, caption_ids, paired)
        features = None if patches is None else self.model.project_patches(patches, question_ids)
        del patches  # of a frozen tower nothing else keeps them, and the language model needs the room
        # Text alone has to run what images run: every trained parameter is reached, and under ZeRO-3 the processes,
        # which hold parts of each other's weights, ask for the same ones in the same order.
        blank = self._blank_image() if features is None and self._images_are_needed() else None
        shown = features if blank is None else blank[:0]
        aligned = self.regions(shown, region_words, region_boxes, counts)
        nothing = 0.0 if blank is None else (0.0 * blank).sum()
        if not self.answers and self.training:
            return aligned + pairs + nothing
        embeddings = self.model.embed(self.noisy_box_tokens(input_ids, labels), features)
        if blank is not None:  # here, so that the backward pass, too, asks for what that of images does
            embeddings = embeddings + nothing.to(embeddings.dtype)
        keep = self.phrase_reader is not None
        predictions = self.model.predict(embeddings, labels, "none", middle=keep, **layout)
        loss = predictions.loss(None if counts is None else max(counts["labels"], 1), **self.number_targets)
        return loss + aligned + pairs + self.phrases(predictions.middle, phrase_boxes, counts)

    def pairs(
        self, patches: torch.Tensor | None, caption_ids: torch.Tensor | None, paired: torch.Tensor | None
    ) -> torch.Tensor | float:
        """Weighted InfoNCE of pictures (N, patches, width) and captions (N, L), over all processes. Every process takes
        part, also one whose pack holds no pair."""
        if not self.contrastive or caption_ids is None or not self.training:
            return 0.0
        part = self.model.retrieval
        texts = self.model.embed_texts(caption_ids)
        if patches is None:  # DDP waits for every map
            patches = texts.new_zeros(len(texts), 1, part.image.in_features)
        images = part.images(patches)
        return self.contrastive * info_nce(images, texts, part.scale(), paired)

    def noisy_box_tokens(self, input_ids: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """(B, T) ids with some box numbers of the answers replaced by random ones, in training."""
        if not self.box_token_noise or not self.training or labels is None:
            return input_ids
        numbers = self.box_token_ids.to(input_ids.device)
        chosen = torch.isin(labels, numbers) & (torch.rand(labels.shape, device=labels.device) < self.box_token_noise)
        return torch.where(chosen, numbers[torch.randint(NUMBERS, labels.shape, device=labels.device)], input_ids)

    def regions(
        self,
        features: torch.Tensor | None,
        words: torch.Tensor | None,
        boxes: torch.Tensor | None,
        counts: Mapping[str, int] | None,
    ) -> torch.Tensor | float:
        """Weighted loss of what the image tokens (N, n, H) show: the words for it and the extent of the object.

        Args:
            words, boxes: (N, n, K) ids and (N, n, 4) numbers, padded with -100.
            counts: what ``region_words`` and ``region_boxes`` are divided by; None: what is there.
        """
        weights, loss = self.alignment, 0.0
        if features is None or not self.training:
            return loss
        if weights.words and words is not None:
            known = (words != IGNORE_INDEX).any(dim=-1)
            total = word_loss(features[known], words[known], self.word_embeddings(), weights.sharpness)
            loss = loss + weights.words * total / _count(counts, "region_words", known)
        if weights.boxes and boxes is not None:
            known = boxes[..., 0] != IGNORE_INDEX
            total = self.region_reader.loss(features[known], boxes[known])
            loss = loss + weights.boxes * total / _count(counts, "region_boxes", known)
        return loss

    def phrases(
        self,
        hidden: torch.Tensor | None,
        boxes: torch.Tensor | None,
        counts: Mapping[str, int] | None,
    ) -> torch.Tensor | float:
        """Weighted loss of the boxes of named objects, read where they are named.

        They are read in the middle of the layers: what is known only at the last one cannot be looked up by the tokens
        of the answer.

        Args:
            hidden: (B, T, H) in the middle of the layers.
            boxes: (B, T, 4), -100 where nothing is named.
        """
        if self.phrase_reader is None or boxes is None or not self.training:
            return 0.0
        known = boxes[..., 0] != IGNORE_INDEX
        total = self.phrase_reader.loss(hidden[known], boxes[known])
        return self.alignment.phrases * total / _count(counts, "phrase_boxes", known)

    def word_embeddings(self) -> torch.Tensor:
        """(V, hidden_size), through the layer's forward pass: under ZeRO-3 its weight is elsewhere until then."""
        ids = torch.arange(self.model.config.text_config.vocab_size, device=self.model.device)
        return self.model.get_input_embeddings()(ids)

    def _images_are_needed(self) -> bool:
        trained = self.model.is_trained("vision") or self.model.is_trained("projector")
        shared_out = any(hasattr(parameter, "ds_id") for parameter in self.model.parameters())  # ZeRO-3
        return (trained or shared_out) and self.training and torch.is_grad_enabled()

    def _blank_image(self) -> torch.Tensor:
        """(1, tokens_per_image, hidden_size), an encoded blank image."""
        device = self.model.device
        question = torch.zeros(1, 1, dtype=torch.long, device=device) if self.model.projector.reads_text else None
        return self.model.encode_images(torch.zeros(1, *self.model.config.pixel_shape, device=device), question)


def trained_parameters(objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that the optimiser changes; those of the model have their names in the model. Tied weights
    appear once."""
    return ((name.removeprefix(MODEL), p) for name, p in objective.named_parameters() if p.requires_grad)


def moving_statistics(objective: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and buffers that batch norms with trained weights change in every forward pass, named likewise."""
    for name, module in objective.named_modules():
        if isinstance(module, _BatchNorm) and any(p.requires_grad for p in module.parameters(recurse=False)):
            for buffer_name, buffer in module.named_buffers(recurse=False):
                yield f"{name}.{buffer_name}".removeprefix(MODEL), buffer


def _count(counts: Mapping[str, int] | None, name: str, known: torch.Tensor) -> int | torch.Tensor:
    return known.sum().clamp(min=1) if counts is None else max(counts[name], 1)
