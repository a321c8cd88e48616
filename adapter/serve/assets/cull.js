// Keys on the focused photo: stars, flags, enlarging, comparing, undoing.

import { byId, leave, make, post, quantity, say } from "/assets/api.js";
import { why } from "/assets/why.js";

const MOST = 6; // photos side by side
const compared = [];
let grid;
let frozen = null;

// One request after the other: answers that overtake each other would show an older mark.
let last = Promise.resolve();

function inOrder(task) {
  last = last.then(task, task);
}

function mark(change) {
  const row = grid.row;
  if (row === undefined) return;
  inOrder(async () => grid.update(row, await post("/api/marks", { row, ...change })));
}

async function undo() {
  const found = await post("/api/marks/undo", {});
  if (found.row === null) {
    say("nothing to undo");
    return;
  }
  grid.update(found.row, found);
  say("undone");
}

function enlarge() {
  if (grid.row === undefined) return;
  show([grid.row]);
}

// C gathers two to six photos; the first stays while arrows change the last.
function compare() {
  const row = grid.row;
  const at = compared.indexOf(row);
  if (at >= 0) compared.splice(at, 1);
  else if (compared.length < MOST) compared.push(row);
  say(`comparing ${quantity(compared.length, "photo")}`);
  if (compared.length >= 2) {
    frozen = compared[0];
    show(compared);
  }
}

export function show(rows) {
  const dialog = byId("large");
  const side = make("div", undefined, { className: "side" });
  for (const row of rows) {
    const name = grid.known.get(row)?.path ?? `photo ${row}`;
    const figure = make("figure");
    if (row === frozen && rows.length > 1) figure.setAttribute("aria-current", "true");
    figure.append(make("img", undefined, { src: `/photo/${row}`, alt: name }));
    figure.append(make("figcaption", name));
    side.append(figure);
  }
  const close = make("button", "Close", { type: "button" });
  close.addEventListener("click", () => leave(dialog));
  dialog.replaceChildren(close, side);
  if (!dialog.open) dialog.showModal();
}

function forget() {
  compared.length = 0;
  frozen = null;
}

function step(key) {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns,
    Home: -grid.focus, End: grid.rows.length };
  grid.go(grid.focus + moves[key]);
  const dialog = byId("large");
  if (!dialog.open) return;
  if (compared.length >= 2) {
    compared[compared.length - 1] = grid.row;
    show(compared);
  } else {
    enlarge();
  }
}

export function pressed(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const dialog = byId("large");
  if (key.startsWith("Arrow") || key === "Home" || key === "End") step(key);
  else if (/^[0-5]$/.test(key)) mark({ stars: Number(key) });
  else if (key === "p") mark({ flag: "pick" });
  else if (key === "x") mark({ flag: "reject" });
  else if (key === "u") mark({ flag: "none" });
  else if (key === " ") dialog.open ? leave(dialog) : enlarge();
  else if (key === "c") compare();
  else if (key === "w") why(grid, compared.length === 2 ? compared : [grid.row]);
  else if (key === "Backspace") inOrder(undo);
  else return;
  event.preventDefault();
}

export function start(theGrid) {
  grid = theGrid;
  byId("grid").addEventListener("keydown", pressed);
  const dialog = byId("large");
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" && event.target.tagName !== "BUTTON") pressed(event);
  });
  for (const left of ["cancel", "leave"]) dialog.addEventListener(left, forget); // Escape cancels
  dialog.addEventListener("close", () => byId("grid").focus());
}
