// A grid of any number of photos: only what is seen is in the page.

import { byId, make, post, quantity } from "/assets/api.js";

const TEXT = 88; // pixels below a picture
const AHEAD = 1; // rows that are made before they are seen

export class Grid {
  constructor(current) {
    this.box = byId("grid");
    this.current = current; // () => the order as the server takes it
    this.rows = [];
    this.sizes = [];
    this.focus = 0;
    this.known = new Map(); // row -> details
    this.cells = new Map(); // place -> element
    this.space = make("div", "", { className: "space", role: "presentation" });
    this.box.append(this.space);
    this.box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.layout()).observe(this.box);
  }

  show(rows, sizes) {
    const held = this.rows[this.focus];
    this.rows = rows;
    this.sizes = sizes;
    this.focus = Math.max(rows.indexOf(held), 0);
    this.known.clear();
    this.clear();
    this.layout();
    byId("count").textContent = quantity(rows.length, "photo");
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
  }

  layout() {
    const width = this.box.clientWidth || 300;
    const wanted = width < 500 ? 150 : 200;
    this.columns = Math.max(Math.floor(width / wanted), 1);
    this.side = Math.floor(width / this.columns);
    this.height = this.side + TEXT;
    this.space.style.height = `${Math.ceil(this.rows.length / this.columns) * this.height}px`;
    this.clear();
    this.draw();
  }

  draw() {
    const first = Math.max(Math.floor(this.box.scrollTop / this.height) - AHEAD, 0);
    const last = Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + AHEAD;
    const from = first * this.columns;
    const to = Math.min(last * this.columns, this.rows.length);
    for (const [place, cell] of this.cells) {
      if (place < from || place >= to) {
        cell.remove();
        this.cells.delete(place);
      }
    }
    for (let place = from; place < to; place++) {
      if (!this.cells.has(place)) this.add(place);
    }
    this.mark();
    this.fill();
  }

  add(place) {
    const row = this.rows[place];
    const cell = make("div", "", { className: "cell", id: `photo-${row}`, role: "option" });
    cell.style.width = `${this.side}px`;
    cell.style.height = `${this.height}px`;
    cell.style.left = `${(place % this.columns) * this.side}px`;
    cell.style.top = `${Math.floor(place / this.columns) * this.height}px`;
    const picture = make("img", undefined, { alt: `photo ${place + 1}`, src: `/thumb/${row}` });
    picture.style.height = `${this.side - 12}px`;
    cell.append(picture, make("p", `${place + 1}`), make("p", ""), make("p", ""));
    cell.addEventListener("click", () => this.go(place));
    this.box.append(cell);
    this.cells.set(place, cell);
    this.describe(place);
  }

  // Ask for the details of what is seen, once the scrolling rests.
  fill() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      const rows = [...this.cells.keys()].map((place) => this.rows[place]);
      const missing = rows.filter((row) => !this.known.has(row)).slice(0, 500);
      if (!missing.length) return;
      const found = await post("/api/details", { rows: missing, order: this.current() });
      for (const photo of found) this.known.set(photo.row, photo);
      for (const place of this.cells.keys()) this.describe(place);
    }, 60);
  }

  describe(place) {
    const photo = this.known.get(this.rows[place]);
    const cell = this.cells.get(place);
    if (!photo || !cell) return;
    const [name, mark, score] = cell.querySelectorAll("p");
    const alike = this.sizes[place] > 1 ? `, ${this.sizes[place]} alike` : "";
    cell.querySelector("img").alt = photo.path;
    name.textContent = `${photo.place}. ${photo.path}`;
    name.title = photo.path;
    const flags = { pick: " picked", reject: " rejected", none: "" };
    mark.textContent = `${"★".repeat(photo.stars)}${flags[photo.flag]} ` +
      `${photo.percentile.toFixed(1)} %${alike}`;
    score.textContent = photo.wishes
      .map((w) => `${w.unit ? w.score.toPrecision(3) : w.percentile.toFixed(0) + " %"} ` +
        `(+${w.share.toFixed(2)}) ${w.wish}`).join("; ");
    score.title = score.textContent;
  }

  // Change what is known of a photo, wherever it is shown.
  update(row, mark) {
    const photo = this.known.get(row);
    if (photo) Object.assign(photo, mark);
    this.describe(this.rows.indexOf(row));
  }

  get row() {
    return this.rows[this.focus];
  }

  go(place) {
    if (!this.rows.length) return;
    this.focus = Math.min(Math.max(place, 0), this.rows.length - 1);
    const top = Math.floor(this.focus / this.columns) * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + this.height - this.box.clientHeight;
    if (bottom > this.box.scrollTop) this.box.scrollTop = bottom;
    this.draw();
  }

  mark() {
    for (const [place, cell] of this.cells) {
      cell.setAttribute("aria-selected", String(place === this.focus));
    }
    const cell = this.cells.get(this.focus);
    if (cell) this.box.setAttribute("aria-activedescendant", cell.id);
    else this.box.removeAttribute("aria-activedescendant");
  }
}

