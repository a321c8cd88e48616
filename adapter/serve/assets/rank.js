// Wishes with weights, filters, and the order that follows from them.

import { byId, get, make, post, quantity, say } from "/assets/api.js";

const weights = new Map(); // number of a wish -> weight
let grid;
let state;
let asked = 0;

export function order() {
  const day = (id, more) => {
    const value = byId(id).value;
    return value ? new Date(value).getTime() / 1000 + more : null;
  };
  const fold = Number(byId("fold").value);
  return {
    weights: [...weights].map(([wish, weight]) => ({ wish, weight })),
    form: byId("form").value,
    least: Number(byId("least").value) || 0,
    stars: Number(byId("stars").value) || 0,
    flag: byId("flag").value,
    folder: byId("folder").value === "" ? null : Number(byId("folder").value),
    after: day("after", 0),
    before: day("before", 86400),
    fold: fold < 1 ? fold : null,
    across: byId("across").checked,
  };
}

// The newest answer counts: a slider moves faster than answers come.
export async function refresh() {
  const number = ++asked;
  document.body.dataset.asked = String(number);
  const start = performance.now();
  const found = await post("/api/order", order());
  if (number !== asked) return;
  grid.show(found.rows, found.sizes);
  document.body.dataset.shown = String(number);
  document.body.dataset.milliseconds = String(Math.round(performance.now() - start));
}

export async function showWishes() {
  const found = await get("/api/wishes");
  const list = byId("wish-list");
  const there = new Set(found.map((wish) => wish.number));
  for (const number of weights.keys()) if (!there.has(number)) weights.delete(number);
  let fresh = false;
  for (const wish of found) {
    if (wish.status === "ready" && !weights.has(wish.number)) {
      weights.set(wish.number, 1);
      fresh = true;
    }
  }
  list.replaceChildren(...found.map(line));
  if (fresh) await refresh();
  if (found.some((wish) => wish.status === "working")) setTimeout(showWishes, 400);
}

function line(wish) {
  const item = make("li");
  item.append(make("strong", wish.text));
  if (wish.opposite) item.append(make("span", `rather than ${wish.opposite}`));
  else item.append(make("span", `by ${wish.source}`));
  if (wish.status === "ready") {
    const name = `Weight of ${wish.text}`;
    const slider = make("input", undefined, {
      type: "range", min: -1, max: 1, step: 0.05, "aria-label": name,
    });
    slider.value = weights.get(wish.number);
    const shown = make("output", String(weights.get(wish.number)));
    slider.addEventListener("input", () => {
      weights.set(wish.number, Number(slider.value));
      shown.textContent = slider.value;
      refresh();
    });
    item.append(slider, shown);
  } else if (wish.status === "working") {
    item.append(make("span", `${wish.done} of ${quantity(state.photos, "photo")}`));
  }
  if (wish.note) item.append(make("span", wish.note));
  const remove = make("button", "Remove", { type: "button", "aria-label": `Remove ${wish.text}` });
  remove.addEventListener("click", async () => {
    await post("/api/wishes/remove", { number: wish.number });
    weights.delete(wish.number);
    await showWishes();
    await refresh();
  });
  item.append(remove);
  return item;
}

// The wish with the largest weight is the one that "why" is about.
export function leading() {
  const sorted = [...weights].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  return sorted.length ? sorted[0][0] : null;
}

export function start(theGrid, theState) {
  grid = theGrid;
  state = theState;
  const sources = [...state.runs.map((run) => run.name), "similarity"];
  byId("wish-source").replaceChildren(...sources.map((name) => make("option", name)));
  const known = state.runs.flatMap((run) => run.queries);
  byId("known").replaceChildren(...known.map((text) => make("option", undefined, { value: text })));
  byId("opposites").append(
    ...state.opposites.map(([high], at) => make("option", high, { value: String(at) })));
  byId("opposites").addEventListener("change", (event) => {
    const pair = state.opposites[event.target.value] ?? ["", ""];
    [byId("wish-text").value, byId("wish-opposite").value] = pair;
  });
  byId("folder").append(
    ...state.folders.map((name, at) => make("option", name, { value: String(at) })));
  byId("new-wish").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [text, opposite] = ["wish-text", "wish-opposite"].map((id) => byId(id).value.trim());
    const source = opposite ? "similarity" : byId("wish-source").value;
    await post("/api/wishes", { text, source, opposite });
    for (const id of ["wish-text", "wish-opposite", "opposites"]) byId(id).value = "";
    say(`ranking by ${text}`);
    await showWishes();
  });
  for (const id of ["form", "least", "stars", "flag", "folder", "after", "before", "fold",
    "across"]) {
    byId(id).addEventListener("change", refresh);
  }
}
