"""Write docs/model_list.md from the table that `skyeye models list` prints (skyeye/config/catalogue.py)."""

from __future__ import annotations

from pathlib import Path

from skyeye.config.catalogue import PROOFS, not_reproducible, table

PAGE = """# The models of the field, by name

Written by `python scripts/model_list.py` from `skyeye/config/catalogue.py`; a test compares.
`skyeye models show NAME` prints the recipe of one, `skyeye chat NAME --weights FOLDER --image FILE` runs its published
files, `skyeye eval NAME --weights FOLDER` scores them. What was compared and how far it was off stands in
[models.md](models.md#families).

{table}

{proofs}

GiB are those of the weights; keys, values and images come on top. So do the licences of Vicuna, LLaMA and Mistral.
"""


def main() -> None:
    proofs = "\n".join(f"- {name}: {words}" for name, words in PROOFS.items())
    proofs += f"\n{not_reproducible()}"
    page = Path(__file__).parents[1] / "docs" / "model_list.md"
    page.write_text(PAGE.format(table=table(), proofs=proofs), encoding="utf-8")


if __name__ == "__main__":
    main()
