// A box drawn on the picture goes into the field "Region"; a picture that is pasted is uploaded.
(() => {
  const field = () => document.querySelector("#sk-region textarea, #sk-region input");
  const write = (text) => {
    const input = field();
    if (!input) return;
    const kind = input.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(input, text);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const show = (numbers) => {
    for (const svg of document.querySelectorAll(".sk-frame svg")) {
      svg.replaceChildren();
      if (!numbers) continue;
      const [x1, y1, x2, y2] = numbers;
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("x", Math.min(x1, x2));
      rect.setAttribute("y", Math.min(y1, y2));
      rect.setAttribute("width", Math.abs(x2 - x1));
      rect.setAttribute("height", Math.abs(y2 - y1));
      svg.appendChild(rect);
    }
  };
  window.skRegion = (text) => {
    const numbers = (text || "").split(/[,;]/).map(Number);
    show(text && numbers.length === 4 && numbers.every(Number.isFinite) ? numbers : null);
  };
  let from = null;
  const place = (event, figure) => {
    const frame = figure.querySelector(".sk-frame").getBoundingClientRect();
    const within = (value, low, size) => Math.min(Math.max((value - low) / size, 0), 1);
    return [
      within(event.clientX, frame.left, frame.width) * figure.dataset.width,
      within(event.clientY, frame.top, frame.height) * figure.dataset.height,
    ];
  };
  document.addEventListener("pointerdown", (event) => {
    const frame = event.target.closest?.(".sk-frame");
    const finger = event.pointerType !== "mouse";
    if (!frame || event.button || (finger && !document.body.classList.contains("sk-drawing"))) return;
    event.preventDefault();
    const figure = frame.closest(".sk-picture");
    from = { figure, point: place(event, figure), x: event.clientX, y: event.clientY };
  });
  document.addEventListener("pointermove", (event) => {
    if (from) show([...from.point, ...place(event, from.figure)]);
  });
  document.addEventListener("pointerup", (event) => {
    if (!from) return;
    const far = Math.abs(event.clientX - from.x) > 4 && Math.abs(event.clientY - from.y) > 4;
    const [[x1, y1], [x2, y2]] = [from.point, place(event, from.figure)];
    from = null;
    if (!far) return write("");
    write([Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)].map(Math.round).join(", "));
  });
  document.addEventListener("pointercancel", () => { from = null; });
  window.skDrawing = () => {
    const on = document.body.classList.toggle("sk-drawing");
    document.querySelector("#sk-draw")?.setAttribute("aria-pressed", on);
  };
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
    const input = document.querySelector("#sk-upload input[type=file]");
    if (!files.length || !input) return;
    event.preventDefault();
    const given = new DataTransfer();
    files.forEach((file) => given.items.add(file));
    input.files = given.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
