// Asking the server. Every answer is JSON; a refusal is a sentence, shown where people look.

export async function get(path) {
  return answer(await fetch(path));
}

export async function post(path, body) {
  return answer(await send(path, body));
}

// The same where the answer is a file.
export async function postFile(path, body) {
  const response = await send(path, body);
  return response.ok ? response.blob() : answer(response);
}

function send(path, body) {
  const headers = { "content-type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
}

async function answer(response) {
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { error: text };
  }
  if (response.ok) return value;
  const reason = value.error || (typeof value.detail === "string" ? value.detail : text);
  say(reason);
  throw new Error(reason);
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

// How many there are: "1 photo", "2,000 photos".
export function quantity(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// A new element: its text is text, whatever a file is called.
export function make(name, text, properties = {}) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  return element;
}

export const byId = (id) => document.getElementById(id);

// Close a dialog. Its "close" event comes some time after; "leave" comes at once, so that a key
// that is pressed right behind it finds everything as it is without the dialog.
export function leave(dialog) {
  dialog.dispatchEvent(new Event("leave"));
  dialog.close();
}
