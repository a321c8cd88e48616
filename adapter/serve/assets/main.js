// Begins the page, and shows one view at a time.

import { byId, get, make } from "/assets/api.js";
import { Grid } from "/assets/grid.js";
import * as cull from "/assets/cull.js";
import * as rank from "/assets/rank.js";
import * as take from "/assets/take.js";
import * as teach from "/assets/teach.js";

const VIEWS = {
  rank: ["wishes", "filters", "keys", "count", "grid"],
  teach: ["teach"],
  cull: ["filters", "keys", "count", "grid"],
  take: ["wishes", "filters", "take"],
};

let view = "rank";

function open(name) {
  view = name;
  const shown = new Set(VIEWS[name]);
  for (const id of new Set(Object.values(VIEWS).flat())) byId(id).hidden = !shown.has(id);
  for (const button of document.querySelectorAll("nav button")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }
  if (name === "cull") byId("grid").focus();
}

const state = await get("/api/state");
document.title = `${state.name}: photos in order`;
byId("notes").replaceChildren(...state.notes.map((text) => make("li", text)));
const grid = new Grid(rank.order);
rank.start(grid, state);
cull.start(grid);
teach.start(state);
take.start();
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => open(button.dataset.view));
}
document.addEventListener("keydown", (event) => {
  if (view === "teach") teach.pressed(event);
});
open("rank");
await rank.refresh();
await rank.showWishes();
document.body.dataset.ready = "true";
