"use strict";
const data = JSON.parse(document.getElementById("map").textContent);
const svg = document.getElementById("scene"), layer = document.getElementById("shapes");
const told = document.getElementById("told"), place = document.getElementById("place");
const view = svg.viewBox.baseVal, whole = { x: view.x, y: view.y, width: view.width, height: view.height };

data.shapes.forEach((shape, number) => {
  const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
  polygon.setAttribute("points", shape.points.map((point) => point.join(",")).join(" "));
  polygon.setAttribute("class", `${shape.kind} c${shape.name < 0 ? "n" : shape.name % 8}`);
  polygon.dataset.number = number;
  polygon.dataset.name = shape.name;
  layer.append(polygon);
});

layer.addEventListener("click", (event) => {
  const shape = data.shapes[event.target.dataset.number];
  if (!shape) return;
  layer.querySelectorAll(".chosen").forEach((each) => each.classList.remove("chosen"));
  event.target.classList.add("chosen");
  told.replaceChildren();
  for (const [key, value] of Object.entries(shape.words)) {
    const row = told.insertRow();
    row.insertCell().textContent = key;
    row.insertCell().textContent = String(value);
  }
});

document.querySelectorAll("#names input").forEach((box) => box.addEventListener("change", () => {
  layer.querySelectorAll(`[data-name="${box.value}"]`).forEach((each) => { each.style.display = box.checked ? "" : "none"; });
}));

function at(event) {
  const box = svg.getBoundingClientRect(), scale = Math.max(view.width / box.width, view.height / box.height);
  return {
    x: view.x + view.width / 2 + (event.clientX - box.left - box.width / 2) * scale,
    y: view.y + view.height / 2 + (event.clientY - box.top - box.height / 2) * scale,
    scale,
  };
}

svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  const point = at(event), factor = Math.min(Math.max(event.deltaY > 0 ? 1.25 : 0.8, 4 / view.width), (2 * whole.width) / view.width);
  view.x = point.x - (point.x - view.x) * factor;
  view.y = point.y - (point.y - view.y) * factor;
  view.width *= factor;
  view.height *= factor;
}, { passive: false });

let held = null;
svg.addEventListener("pointerdown", (event) => { held = at(event); });
window.addEventListener("pointerup", () => { held = null; });
svg.addEventListener("pointermove", (event) => {
  const point = at(event);
  if (held && event.buttons) {
    view.x += held.x - point.x;
    view.y += held.y - point.y;
    held = at(event);
  }
  const words = [`column ${Math.round(point.x * data.every)}, row ${Math.round(point.y * data.every)}`];
  if (data.grid) {
    const u = (point.x - whole.x) / whole.width, v = (point.y - whole.y) / whole.height;
    const [a, b, c, d] = data.grid;
    const mixed = [0, 1].map((i) => (1 - v) * ((1 - u) * a[i] + u * b[i]) + v * ((1 - u) * d[i] + u * c[i]));
    words.push(`about ${mixed[1].toFixed(5)}, ${mixed[0].toFixed(5)}`);
  }
  place.textContent = words.join(" · ");
});
document.getElementById("back").addEventListener("click", () => Object.assign(view, whole));
