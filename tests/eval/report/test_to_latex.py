from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.eval.report import latex
from skyeye.eval.report.to_latex import escaped
from skyeye.eval.results import Published


@pytest.fixture
def scores(made):
    rows = {
        "R&D_50%": {"accuracy": 50.5, "accuracy/rural_urban": 70.25},
        "Ünï #1 {x} ~^\\ <b> 漢": {"accuracy": 88.0},
    }
    metrics = {"accuracy": made.metric(88.0, 40.0, low=80.0, high=90.0), "accuracy/rural_urban": made.metric(None)}
    whole = made.entry(
        "vqa",
        "accuracy",
        metrics,
        quoted=made.quotes(rows),
        published=Published(400, "R_D"),
        title="RSVQA_LR $test",
        metric="100 % of {answers}",
    )
    part = made.entry("vqa", "accuracy", metrics, 48, quoted=made.quotes(rows), published=Published(1093, "s"))
    return made.results({"rsvqa_lr": whole, "part": part, "no.quotes": made.entry("vqa", "accuracy", {})})


def balanced(text: str) -> bool:
    open_ones: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if what == "begin":
            open_ones.append(name)
        elif not open_ones or open_ones.pop() != name:
            return False
    return not open_ones


def test_tables(scores):
    text = latex(scores)
    assert balanced(text) and text.count(r"\begin{tabular}") == 3  # the summary and two against quoted numbers
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    assert r"rsvqa\_lr & accuracy & 88.0 & 80.0--90.0 & 40.0 & 400 \\" in text
    assert r"no.quotes & accuracy & -- & -- & -- & 400 \\" in text
    assert r"method & accuracy & rural urban \\" in text
    assert r"R\&D\_50\% & 50.50 & \textbf{70.25} \\" in text
    assert "first (ours) & \\textbf{88.00} & -- \\\\\n & {\\tiny 80.0--90.0} &  \\\\" in text
    assert r"\caption{RSVQA\_LR \$test. Quoted: a paper, table 1. Ours: all 400 published records (R\_D)." in text
    assert r"Metric: 100 \% of \{answers\}." in text and r"\label{tab:skyeye-rsvqa-lr}" in text
    assert "Ours: 48 of 1,093 published records: not comparable (s)." in text
    assert text.count(r"first (ours) & 88.00 & -- \\") == 1  # a part of the test set wins nothing
    # every row of a table has as many cells as its head
    for body in re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(body[0])}


def test_escaping():
    assert escaped("a_b & 5% $x$ #1 {y} ~ ^ \\") == (
        r"a\_b \& 5\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escaped("Müller, naïve – “q”") == "M\\\"{u}ller, na\\\"{i}ve -- ``q''"
    assert escaped("line\nbreak\u2028\0 漢 \ud800") == "line break ? ? ?"


@given(st.text())
def test_no_text_gets_out(text):
    found = escaped(text)
    assert found.isascii() and "\n" not in found
    bare = re.sub(r"\\[_&%$#{}]|\\~\{|\\\^\{", "", found)  # without what is escaped, and accents
    assert not set(bare) & set("&%#_~^") and bare.count("$") % 2 == 0
    plain = found.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")


def test_pdflatex_sets_it(scores, tmp_path):
    every = "".join(map(chr, range(0x250))) + "–—’“”…×±→≥≤漢"
    whole = scores.benchmarks["rsvqa_lr"]
    whole = replace(whole, protocol=replace(whole.protocol, metric=every))
    typeset(latex(replace(scores, benchmarks={**scores.benchmarks, "rsvqa_lr": whole})), tmp_path)


def test_the_widest_table_fits_a_page(made, tmp_path):
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE_L", "CIDEr"]
    rows = {"SkyEyeGPT-one-stage": dict.fromkeys(names, 333.23)}
    metrics = {name: made.metric(78.3, 40.0, low=53.2, high=89.2) for name in names}
    metrics["CIDEr"] = made.metric(278.3, 40.0, low=253.2, high=289.2)
    entry = made.entry("captions", "CIDEr", metrics, quoted=made.quotes(rows))
    assert "Overfull" not in typeset(latex(made.results({"rsicd": entry})), tmp_path)


def typeset(tables: str, folder: Path) -> str:
    """What pdflatex says of a paper with these tables."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (folder / "paper.tex").write_text(head + tables + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-1500:]
    assert (folder / "paper.pdf").stat().st_size > 1000
    return done.stdout
