"use strict";
(() => {
  const STEP = 25; // answers that are added at a time

  function make(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text; // never as HTML: answers are not to be trusted
    return element;
  }

  // a row: id, kind, mark, measure, anchor of its picture, then the texts that data.fields names
  function article(row, fields) {
    const [id, kind, mark, measure, anchor, ...texts] = row;
    const element = make("article");
    const head = make("p");
    const good = mark === "right" || mark.endsWith("→ right") || mark === "better";
    const bad = mark === "wrong" || mark.endsWith("→ wrong") || mark === "worse";
    head.append(make("span", "mark " + (good ? "pass" : bad ? "fail" : "soft"), mark), " ");
    head.append(make("span", "soft text", [id, kind, measure].filter(Boolean).join(" · ")));
    if (anchor) {
      const link = make("a", "", "picture");
      link.href = "#" + anchor;
      head.append(" ", link);
    }
    element.append(head);
    texts.forEach((text, index) => {
      const line = make("p");
      line.append(make("i", "", fields[index]), " ", make("span", "text", text || "(nothing)"));
      element.append(line);
    });
    return element;
  }

  function search(box) {
    const data = JSON.parse(document.getElementById(box.dataset.rows).textContent);
    const words = box.querySelector("input"), list = box.querySelector(".answers");
    const [marks, kinds] = box.querySelectorAll("select");
    const count = box.querySelector(".found"), more = box.querySelector("button");
    const texts = data.rows.map(row => [row[0], ...row.slice(5)].join("\n").toLowerCase());
    let shown = STEP;
    for (const [select, place] of [[marks, 2], [kinds, 1]]) {
      const values = [...new Set(data.rows.map(row => row[place]))].filter(Boolean).sort();
      for (const value of values) select.add(new Option(value, value));
      select.hidden = values.length < 2;
    }
    function draw() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = data.rows.filter((row, index) => (!marks.value || row[2] === marks.value)
        && (!kinds.value || row[1] === kinds.value) && wanted.every(word => texts[index].includes(word)));
      count.textContent = `${found.length} of ${data.rows.length} answers`;
      list.replaceChildren(...found.slice(0, shown).map(row => article(row, data.fields)));
      more.hidden = found.length <= shown;
    }
    const again = () => { shown = STEP; draw(); };
    words.addEventListener("input", again);
    marks.addEventListener("change", again);
    kinds.addEventListener("change", again);
    more.addEventListener("click", () => { shown += STEP; draw(); });
    draw();
  }

  for (const box of document.querySelectorAll("details[data-rows]"))
    box.addEventListener("toggle", () => search(box), { once: true }); // a page of many benchmarks opens at once

  for (const input of document.querySelectorAll("input[data-series]")) {
    const curve = document.querySelector(`[data-curve="${input.dataset.series}"]`);
    const sync = () => curve.classList.toggle("off", !input.checked);
    input.addEventListener("change", sync);
    sync(); // a browser may remember how the boxes were set
  }

  for (const chart of document.querySelectorAll(".confusion")) {
    const told = chart.querySelector(".told");
    const tell = event => { const title = event.target.querySelector("title"); if (title) told.textContent = title.textContent; };
    chart.querySelector("svg").addEventListener("pointerover", tell);
    chart.querySelector("svg").addEventListener("click", tell); // where there is no pointer to rest
  }
})();
