"""How each family is scored, in words: printed under every table so that nobody has to guess the protocol."""

from __future__ import annotations

CAPTION = (
    "BLEU-1..4, METEOR, ROUGE_L and CIDEr (x 100) by the coco-caption code (pycocoevalcap), one answer an image "
    "against all its references"
)
VQA = (
    "exact match after full VQA normalisation (case, punctuation, articles, number words); accuracy over all "
    "questions and the mean over question types; count_error is the mean absolute difference of counting answers "
    "that hold a number"
)
REFER = (
    "first box of the answer against the true box; accuracy@t: IoU > t (strictly, on fractions of the image, no +1 on "
    "sides); accuracy@0.5 (+1): in pixels with the reference's +1 on sides; answers without a box count as misses; "
    "nothing is asked again; mean and cumulative IoU; oriented: corners where the truth is an oriented box; "
    "any_object@0.5 is the share of boxes that fit some known object of the picture, the named one or not"
)
PHRASE_GROUNDING = (
    "all boxes of the answer paired at best with all true boxes of the phrase, IoU > 0.5 (strictly); precision and "
    "recall over all boxes of the benchmark, f1 their harmonic mean"
)
CLASSIFICATION = (
    "the one class named in the answer, compared without case, spaces and marks, a few synonyms accepted "
    "(docs/metrics.md; exact names: without them); an answer that names several classes or none is wrong; "
    "balanced_accuracy is the mean over classes"
)
IDENTIFY = (
    "exact match with one of the phrases that would do, after full VQA normalisation; caption metrics against the "
    "same phrases"
)
DETECTION = (
    "every image is asked for the boxes of every class; mean average precision at 0.5 over the classes, also by VOC "
    "2007, VOC and COCO; without scores of boxes all are alike, the curve is one point (docs/metrics.md); no interval"
)
COUNTING = (
    "first number of the answer; within_1: off by one at most, accuracy: the same, answers without a number are wrong; "
    "mae and rmse over the answers with a number"
)
EXACT_CLASS = "exact match after full VQA normalisation"
UNITS = (
    "by unit: a data set with this tag, mean_over_units weighs all alike; protocol ours, UAVBench's is not known to us"
)
PAIR = "both images before the question, which came first said in words by the prompt style"
CHOICES = (
    "the letter that the answer names, else the option it says in full; options shuffled, each question asked once for "
    "every turn of them; accuracy over all of these, circular_accuracy: all turns right, voted_accuracy: most of them; "
    "chance and circular_chance: letters drawn at random"
)
ONE_FRAME = "the middle frame of each video, or its single frame, is shown; how many the paper showed is not known"
RETRIEVAL = (
    "cosines of one vector a picture with one vector a caption, all captions of all test pictures against each other; "
    "image_to_text R@k: one of a picture's captions is among its k nearest; text_to_image R@k: a caption's picture is "
    "among its k nearest; captions of other pictures that are equally near count half; mean_recall: the mean of the six"
)
ZERO_SHOT = (
    "the class whose texts are nearest to the picture: every text a vector of length 1, the mean over the templates, "
    "of length 1 again; balanced_accuracy is the mean over classes"
)
