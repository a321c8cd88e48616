// Heat maps: which patches raised the score of a photo (warm), and which lowered it (cold).

import { byId, leave, make, post } from "/assets/api.js";
import { leading } from "/assets/rank.js";

export async function why(grid, rows) {
  const wish = leading();
  if (wish === null) return;
  const [first, second] = rows;
  const found = await post("/api/why", { wish, first, second: second ?? null });
  const name = (row) => grid.known.get(row)?.path ?? `photo ${row}`;
  const figures = second === undefined
    ? [map(first, found.score, found.side, `what raised the score of ${name(first)}`),
      map(first, found.looked, found.side, `where the relational tokens looked in ${name(first)}`)]
    : [map(first, found.first, found.side, `what was in favor of ${name(first)}`),
      map(second, found.second, found.side, `what was in favor of ${name(second)}`)];
  const dialog = byId("large");
  const close = make("button", "Close", { type: "button" });
  close.addEventListener("click", () => leave(dialog));
  const side = make("div", undefined, { className: "side" });
  side.append(...figures.filter(Boolean));
  dialog.replaceChildren(close, side);
  if (!dialog.open) dialog.showModal();
}

// Patches of the squashed square, drawn over the photo in its own shape.
function map(row, values, side, text) {
  if (!values) return null;
  const figure = make("figure");
  const canvas = make("canvas", undefined, { role: "img", "aria-label": text });
  const picture = new Image();
  picture.addEventListener("load", () => {
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const [w, h] = [canvas.width / side, canvas.height / side];
    values.forEach((value, at) => {
      const strength = Math.min(Math.abs(value), 1) * 0.65;
      pen.fillStyle = value > 0 ? `rgba(255, 90, 0, ${strength})` : `rgba(0, 110, 255, ${strength})`;
      pen.fillRect((at % side) * w, Math.floor(at / side) * h, w, h);
    });
    canvas.dataset.drawn = "true";
  });
  picture.src = `/photo/${row}`;
  figure.append(canvas, make("figcaption", text));
  return figure;
}
