#!/usr/bin/env bash
# From nothing to a trained, measured, talking tiny SkyEyeGPT; how long that takes here it says itself. Everything lands in runs/demo.
# Called again it goes on where it was interrupted, or says that all is there; rm -r runs/demo starts over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/threads.sh
bash scripts/setup.sh

images=3000
held_out=150
out=runs/demo
scenes=$out/scenes
model=$out/checkpoints/conversation
recipe=configs/tiny.yaml

skyeye() { .venv/bin/python -m skyeye "$@"; }

say() { printf '\n== %s\n' "$*"; }

summary() {
    cat <<END
  $out/report.html     open this: scores, pictures, drawn boxes, right and wrong answers
  $out/scores.json     the scores, each beside those with shuffled images or phrases
  $out/loss.png        the course of training; $out/log.jsonl in numbers
  $out/chat/           answers.txt, and pictures with the boxes that were named
  $model/  the model

Next:
  source .venv/bin/activate
  skyeye chat $model --image $scenes/images/test_000003.jpg
  skyeye train $recipe --quick seed=7            (a tenth of the steps, into $out-quick)
  skyeye --help
END
}

# The questions that the held-out files ask about one picture: one of each kind.
questions() {
    .venv/bin/python - "$scenes" "$1" <<'END'
import json, sys
scenes, image = sys.argv[1:]
for task in ("caption", "classification", "vqa", "refer", "phrasegrounding"):
    with open(f"{scenes}/test/{task}_test.json", encoding="utf-8") as file:
        asked = [x["conversations"][0]["value"] for x in json.load(file) if x["image"] == image]
    print(*(question.removeprefix("<image>\n") for question in asked[:1]), sep="\n", end="\n" if asked else "")
END
}

if [ -f $out/chat/answers.txt ]; then
    say "The demo has run already; rm -r $out and call it again to start over."
    summary
    exit 0
fi
trap 'echo; echo "Interrupted. Call bash scripts/demo.sh again to go on."; exit 130' INT
SECONDS=0

say "1/4 Synthetic aerial scenes: $images pictures to learn from, $held_out held out for the test"
skyeye data synth $scenes --images $images --held-out $held_out --seed 1

if [ -f $model/manifest.json ]; then
    say "2/4 Training: done before"
else
    say "2/4 Training: all parts from scratch, then single tasks and conversations with adapters"
    if [ -f $out/recipe.yaml ]; then
        resume=--resume
    else
        resume=
        skyeye plan $recipe --here
        echo "The scores and answers after it take a few minutes more."
    fi
    skyeye train $recipe $resume
fi

if [ -f $out/report.html ]; then
    say "3/4 Scores: done before"
else
    say "3/4 Scores on the held-out pictures"
    skyeye eval $model --data-root $scenes --out $out
fi

say "4/4 A few answers"
mkdir -p $out/chat
for image in test_000000 test_000001 test_000002; do
    asks=()
    while IFS= read -r question; do asks+=(--ask "$question"); done < <(questions $image.jpg)
    echo "$scenes/images/$image.jpg"
    skyeye chat $model --image $scenes/images/$image.jpg --out $out/chat "${asks[@]}"
    echo
done | tee $out/chat/answers.part
mv $out/chat/answers.part $out/chat/answers.txt

say "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
summary
