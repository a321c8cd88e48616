// Two photos, one question; then learning from the answers.

import { byId, get, make, post, quantity, say } from "/assets/api.js";
import { showWishes } from "/assets/rank.js";

let pair = null;
let busy = false;

const question = () => byId("question").value.trim();

async function next() {
  pair = await post("/api/teach/next", { question: question() });
  show();
}

function show() {
  byId("pair").hidden = false;
  byId("asked").textContent = `Which fits better: ${question()}`;
  byId("left").querySelector("img").src = `/photo/${pair.left}`;
  byId("right").querySelector("img").src = `/photo/${pair.right}`;
  if (pair.answered !== undefined) byId("answered").textContent = pair.answered;
}

// The next pair is asked for when the answer is on the disk.
async function answer(word) {
  if (!pair || busy) return;
  busy = true;
  try {
    const { left, right, drawn } = pair;
    await post("/api/teach/answer", { question: question(), left, right, answer: word, drawn });
    await next();
  } finally {
    busy = false;
  }
}

async function undo() {
  const found = await post("/api/teach/undo", {});
  if (found.left === null) {
    say("nothing to undo");
    return;
  }
  pair = found;
  show();
  byId("answered").textContent = Math.max(Number(byId("answered").textContent) - 1, 0);
}

async function train() {
  await post("/api/teach/train", { question: question() });
  byId("learning").hidden = false;
  await follow();
}

async function follow() {
  const status = await get("/api/teach/status");
  const bar = byId("learning");
  if (status.working) {
    bar.max = status.steps;
    bar.value = status.step;
    setTimeout(follow, 300);
    return;
  }
  bar.hidden = true;
  const result = byId("learned");
  if (status.error) {
    result.textContent = status.error;
    return;
  }
  const table = make("table");
  const head = make("tr");
  head.append(...["", "agrees with", "of", "95 %"].map((t) => make("th", t, { scope: "col" })));
  table.append(make("caption", "Answers that it has not seen"), head);
  const names = { head: "the head", taste: "the taste by resemblance", ridge: "ridge",
    untrained: "the untrained order" };
  for (const [key, name] of Object.entries(names)) {
    const found = status.agreement[key];
    if (!found) continue;
    const line = make("tr");
    const share = found.share === null ? "–" : `${(100 * found.share).toFixed(0)} %`;
    const between = `${(100 * found.low).toFixed(0)} to ${(100 * found.high).toFixed(0)} %`;
    line.append(make("th", name, { scope: "row" }), make("td", share), make("td", found.count),
      make("td", between));
    table.append(line);
  }
  const used = make("p", `Learned from ${quantity(status.answers, "answer")}; the order is that of ` +
    `${names[status.used]}.`);
  result.replaceChildren(used, table, ...status.notes.map((note) => make("p", note)));
  await showWishes();
}

export function pressed(event) {
  if (event.target.tagName === "INPUT") return;
  const words = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", ArrowUp: "skip" };
  if (event.key in words) answer(words[event.key]);
  else if (event.key === "Backspace") undo();
  else return;
  event.preventDefault();
}

export function start(state) {
  byId("known-questions").replaceChildren(
    ...state.questions.map((text) => make("option", undefined, { value: text })));
  byId("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    await next();
    byId("left").focus();
  });
  byId("left").addEventListener("click", () => answer("left"));
  byId("right").addEventListener("click", () => answer("right"));
  byId("train").addEventListener("click", train);
}
