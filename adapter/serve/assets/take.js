// Taking the order away: what would be done is shown, and then done as it was shown.

import { byId, make, post, postFile, quantity } from "/assets/api.js";
import { order } from "/assets/rank.js";

let token = null;

function request(confirm) {
  const keyword = byId("keyword").value.trim();
  return {
    kind: byId("kind").value,
    order: order(),
    top: Number(byId("top").value) || null,
    stars: byId("rule").value.trim() || null,
    marked: byId("marked").checked,
    keywords: keyword ? [keyword] : [],
    confirm,
  };
}

async function plan() {
  const found = await post("/api/take", request(null));
  token = found.token;
  const list = make("ul");
  list.append(...found.lines.map((text) => make("li", text)));
  byId("plan").replaceChildren(make("p", `${quantity(found.count, "file")} would be written:`), list);
  byId("confirm").hidden = found.count === 0;
}

async function carryOut() {
  byId("confirm").hidden = true;
  const found = await post("/api/take", request(token));
  byId("plan").replaceChildren(
    make("p", `${quantity(found.count, "file")} written. To undo it: adapter undo ${found.log}`));
}

async function table() {
  const kind = byId("table-kind").value;
  const top = Number(byId("top").value) || null;
  const file = await postFile("/api/take/table", { kind, order: order(), top });
  const name = `order.${kind}`;
  const link = make("a", name, { href: URL.createObjectURL(file), download: name });
  byId("plan").replaceChildren(link);
  link.click();
}

export function start() {
  byId("take-form").addEventListener("submit", (event) => {
    event.preventDefault();
    plan();
  });
  byId("confirm").addEventListener("click", carryOut);
  byId("table").addEventListener("click", table);
}
