// What the page does in the browser: the before/after view, the strength, downloads.
// No library, no build step; nothing here talks to any server but the one it came from.

const STEP = 1.25;
const MOST = 16;

// Share of the network's change that is shown and downloaded; the slider sets it.
let strength = 1;

const SHADOW = `
<style>
  :host { display: block; }
  .stage {
    position: relative; overflow: hidden; width: 100%; height: min(58vh, 680px);
    border-radius: 12px; background: var(--unveil-stage); touch-action: pan-y;
    cursor: default; user-select: none; outline-offset: 2px;
  }
  .stage.compares { cursor: ew-resize; }
  .stage.zoomed { touch-action: none; cursor: grab; }
  .stage:focus-visible, button:focus-visible { outline: 3px solid var(--color-accent); }
  .layer { position: absolute; inset: 0; }
  img {
    position: absolute; left: 0; top: 0; transform-origin: 0 0; max-width: none;
    -webkit-user-drag: none; pointer-events: none;
  }
  img.coarse { image-rendering: pixelated; }
  .line {
    position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff;
    box-shadow: 0 0 0 1px rgb(0 0 0 / 25%); pointer-events: none;
  }
  .knob {
    position: absolute; top: 50%; left: 50%; width: 40px; height: 40px; margin: -20px;
    border-radius: 50%; background: #fff; box-shadow: 0 1px 6px rgb(0 0 0 / 45%);
    pointer-events: auto; cursor: ew-resize; touch-action: none; display: grid;
    place-items: center;
  }
  .knob svg { width: 22px; fill: none; stroke: #333; stroke-width: 2; }
  input {
    position: absolute; inset: auto 0 0 0; width: 100%; height: 1px; margin: 0; opacity: 0;
    pointer-events: none;
  }
  input:focus-visible ~ .line .knob { outline: 3px solid var(--color-accent); outline-offset: 2px; }
  .tag {
    position: absolute; top: 12px; padding: 2px 10px; border-radius: 99px; font-size: 13px;
    line-height: 20px; color: #fff; background: rgb(0 0 0 / 55%); pointer-events: none;
  }
  .tag.left { left: 12px; } .tag.right { right: 12px; }
  .wait {
    position: absolute; inset: 0; display: grid; place-items: center; padding: 24px;
    text-align: center; color: #ddd; font-size: 15px; pointer-events: none;
  }
  .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; margin-top: 8px; }
  .bar .say {
    flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
    font-size: 13px; color: var(--body-text-color-subdued);
  }
  @media (max-width: 640px) { .bar .say { flex-basis: 100%; } }
  button {
    min-width: 40px; height: 36px; padding: 0 10px; border-radius: 8px; font: inherit;
    font-size: 14px; cursor: pointer; color: var(--body-text-color);
    background: var(--background-fill-primary); border: 1px solid var(--border-color-primary);
  }
  button:hover { border-color: var(--color-accent); }
  output { min-width: 4.5em; text-align: center; font-size: 13px; font-variant-numeric: tabular-nums; }
  [hidden] { display: none !important; }
</style>
<div class="stage" tabindex="0" role="group" aria-keyshortcuts="+ - 0 1">
  <div class="layer before"><img alt=""></div>
  <div class="layer after"><img alt=""></div>
  <input type="range" min="0" max="100" step="1" value="50">
  <div class="line"><div class="knob">
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6l-6 6 6 6M15 6l6 6-6 6"/></svg>
  </div></div>
  <span class="tag left"></span><span class="tag right"></span>
  <div class="wait" role="status"></div>
</div>
<div class="bar">
  <span class="say"></span>
  <button type="button" data-do="out" aria-label="Zoom out">−</button>
  <output aria-live="polite" aria-label="Zoom"></output>
  <button type="button" data-do="in" aria-label="Zoom in">+</button>
  <button type="button" data-do="fit">Fit</button>
  <button type="button" data-do="full" title="One pixel of the photo on one pixel of the screen">100 %</button>
</div>`;

// Two pictures of one size on top of each other, a line between them; full size, with zoom.
// Attributes: before, after (addresses; without `after` there is nothing to compare), width, height,
// name, left, right (what the sides are called), fixed (the strength does not apply).
class UnveilCompare extends HTMLElement {
  static observedAttributes = ["before", "after", "width", "height", "name", "left", "right", "fixed"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = SHADOW;
    const find = (what) => root.querySelector(what);
    this.stage = find(".stage");
    this.layers = [find(".before"), find(".after")];
    this.images = this.layers.map((layer) => layer.firstElementChild);
    this.range = find("input");
    this.line = find(".line");
    this.tags = [find(".left"), find(".right")];
    this.note = find(".wait");
    this.split = 0.5;
    this.zoom = 1; // times the size at which the whole photo fits
    this.centre = [0.5, 0.5]; // the place of the photo in the middle of the stage
    this.pointers = new Map();
    this.listen(find(".knob"), root);
  }

  connectedCallback() {
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.stage);
    this.update();
  }

  disconnectedCallback() {
    this.observer?.disconnect();
  }

  attributeChangedCallback() {
    // Attributes change one after the other; look at them once they all have.
    if (this.pending) return;
    this.pending = true;
    queueMicrotask(() => {
      this.pending = false;
      if (this.isConnected) this.update();
    });
  }

  update() {
    const size = ["width", "height"].map((side) => Number(this.getAttribute(side)) || 1);
    const other = this.key !== `${this.getAttribute("name")} ${size}`;
    this.key = `${this.getAttribute("name")} ${size}`;
    this.size = size;
    if (other) [this.split, this.zoom, this.centre] = [0.5, 1, [0.5, 0.5]];
    this.compares = Boolean(this.getAttribute("after"));
    ["before", "after"].forEach((side, i) => this.load(this.images[i], this.getAttribute(side)));
    ["left", "right"].forEach((side, i) => {
      this.tags[i].textContent = this.getAttribute(side) || ["Before", "After"][i];
    });
    const name = this.getAttribute("name") || "photo";
    this.stage.setAttribute("aria-label", `${name}, ${size[0]} by ${size[1]} pixels`);
    this.range.setAttribute(
      "aria-label", `Line between ${this.tags[0].textContent} and ${this.tags[1].textContent}`,
    );
    this.shadowRoot.querySelector(".say").textContent = `${name} · ${size[0]} × ${size[1]}`;
    this.draw();
  }

  load(image, address) {
    if ((image.getAttribute("src") || "") === (address || "")) return;
    image.onload = image.onerror = null;
    if (!address) {
      image.removeAttribute("src");
      return;
    }
    this.say("Loading…");
    image.onload = () => this.say("");
    image.onerror = () => this.say("This picture is no longer on the server. Drop the photo again.");
    image.src = address;
  }

  say(text) {
    const waiting = this.images.some((i) => i.getAttribute("src") && !i.complete);
    this.note.textContent = text || (waiting ? "Loading…" : "");
    this.note.hidden = !this.note.textContent;
  }

  fitted() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.size[0], clientHeight / this.size[1], this.most());
  }

  // Small photos may be seen at their own size, which is less than fits.
  least() {
    return Math.min(this.fitted(), 1 / devicePixelRatio);
  }

  most() {
    return MOST / devicePixelRatio;
  }

  draw() {
    if (!this.size || !this.stage.clientWidth) return;
    // A wide photo on a narrow screen needs no tall stage.
    const width = this.stage.clientWidth;
    const wanted = Math.max(160, Math.ceil((width * this.size[1]) / this.size[0]));
    this.stage.style.height = `min(58vh, 680px, ${wanted}px)`;
    const height = this.stage.clientHeight;
    const fit = this.fitted();
    this.zoom = Math.min(Math.max(this.zoom, this.least() / fit), Math.max(1, this.most() / fit));
    const scale = fit * this.zoom;
    const room = [width, height];
    this.corner = [0, 1].map((axis) => {
      const extent = this.size[axis] * scale;
      if (extent <= room[axis]) {
        this.centre[axis] = 0.5;
      } else {
        const margin = room[axis] / 2 / extent;
        this.centre[axis] = Math.min(Math.max(this.centre[axis], margin), 1 - margin);
      }
      return room[axis] / 2 - this.centre[axis] * extent;
    });
    for (const image of this.images) {
      image.style.width = `${this.size[0]}px`;
      image.style.height = `${this.size[1]}px`;
      image.style.transform = `translate(${this.corner[0]}px, ${this.corner[1]}px) scale(${scale})`;
      image.classList.toggle("coarse", scale * devicePixelRatio >= 3);
    }
    this.scale = scale;
    this.stage.classList.toggle("zoomed", this.zoom > 1.001);
    this.stage.classList.toggle("compares", this.compares);
    this.drawSplit();
    const percent = Math.round(scale * devicePixelRatio * 100);
    this.shadowRoot.querySelector("output").textContent = `${percent} %`;
  }

  // The line runs over what is seen of the photo, from its left edge to its right.
  span() {
    const left = Math.max(0, this.corner[0]);
    const right = Math.min(this.stage.clientWidth, this.corner[0] + this.size[0] * this.scale);
    return [left, right];
  }

  drawSplit() {
    const [left, right] = this.span();
    const at = left + this.split * (right - left);
    for (const part of [this.line, this.range, ...this.tags]) part.hidden = !this.compares;
    this.layers[1].hidden = !this.compares;
    this.layers[1].style.clipPath = `inset(0 0 0 ${at}px)`;
    // Half-transparent over the original: the same weighted mean as in the file.
    this.images[1].style.opacity = this.hasAttribute("fixed") ? 1 : strength;
    this.line.style.left = `${at}px`;
    this.range.value = Math.round(this.split * 100);
    this.range.setAttribute("aria-valuetext", `${this.range.value} percent from the left`);
  }

  splitAt(clientX) {
    const [left, right] = this.span();
    const x = clientX - this.stage.getBoundingClientRect().left;
    this.split = Math.min(Math.max((x - left) / Math.max(right - left, 1), 0), 1);
    this.drawSplit();
  }

  // Zoom by `factor`; what lies at (x, y) of the stage stays there.
  zoomBy(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const before = this.scale;
    const place = [x, y].map((at, axis) => (at - this.corner[axis]) / before);
    const fit = this.fitted();
    const after = Math.min(Math.max(before * factor, this.least()), Math.max(fit, this.most()));
    this.zoom = after / fit;
    const middle = [this.stage.clientWidth / 2 - x, this.stage.clientHeight / 2 - y];
    this.centre = place.map((at, axis) => (at + middle[axis] / after) / this.size[axis]);
    this.draw();
  }

  pan(dx, dy) {
    this.centre[0] -= dx / (this.size[0] * this.scale);
    this.centre[1] -= dy / (this.size[1] * this.scale);
    this.draw();
  }

  act(what, x, y) {
    if (what === "in") this.zoomBy(STEP, x, y);
    if (what === "out") this.zoomBy(1 / STEP, x, y);
    if (what === "fit") this.zoomBy(1 / this.zoom);
    if (what === "full") this.zoomBy(1 / devicePixelRatio / this.scale, x, y);
  }

  listen(knob, root) {
    this.range.addEventListener("input", () => {
      this.split = this.range.value / 100;
      this.drawSplit();
    });
    root.querySelector(".bar").addEventListener("click", (event) => {
      this.act(event.target.dataset.do);
    });
    this.stage.addEventListener("keydown", (event) => this.key_(event));
    this.stage.addEventListener("wheel", (event) => {
      // A page that is scrolled past must not zoom; a pinch on a trackpad arrives with `ctrlKey`.
      if (!event.ctrlKey && this.zoom <= 1.001) return;
      event.preventDefault();
      const box = this.stage.getBoundingClientRect();
      const factor = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002));
      this.zoomBy(factor, event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) => {
      const box = this.stage.getBoundingClientRect();
      const what = this.zoom > 1.001 ? "fit" : "full";
      this.act(what, event.clientX - box.left, event.clientY - box.top);
    });
    this.stage.addEventListener("pointerdown", (event) => this.press(event, knob));
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  key_(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const zooming = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "full" }[event.key];
    const step = 60;
    const moving = {
      ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step],
    }[event.key];
    const onLine = root_active(this) === this.range;
    if (zooming) this.act(zooming);
    else if (moving && !onLine && this.zoom > 1.001) this.pan(...moving);
    else return;
    event.preventDefault();
  }

  press(event, knob) {
    if (event.button) return;
    const onKnob = event.composedPath().includes(knob);
    const splits = this.compares && (onKnob || this.zoom <= 1.001);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, splits });
    this.stage.setPointerCapture(event.pointerId);
    if (splits && event.pointerType === "mouse") this.splitAt(event.clientX);
  }

  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY, splits: last.splits };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y) || 1;
      const box = this.stage.getBoundingClientRect();
      const middle = [(now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top];
      this.zoomBy(apart(now) / apart(last), ...middle);
    } else if (last.splits) {
      this.splitAt(event.clientX);
    } else {
      this.pan(now.x - last.x, now.y - last.y);
    }
  }
}

function root_active(element) {
  return element.shadowRoot.activeElement;
}

// Write the file on the server first: an error is a line on the page, not a broken download.
async function download(link) {
  const say = link.closest(".unveil-take")?.querySelector(".unveil-say");
  if (link.getAttribute("aria-busy") === "true") return;
  link.setAttribute("aria-busy", "true");
  if (say) say.textContent = "Writing the file…";
  const address = new URL(link.getAttribute("href"), document.baseURI);
  if (link.hasAttribute("data-strength")) address.searchParams.set("strength", strength);
  let problem = "";
  try {
    const answer = await fetch(address, { method: "POST" });
    if (!answer.ok) problem = (await answer.json()).error || `the server answered ${answer.status}`;
  } catch {
    problem = "the server does not answer; is it still running?";
  }
  link.removeAttribute("aria-busy");
  if (say) say.textContent = problem;
  if (problem) return;
  const plain = document.createElement("a");
  plain.href = address;
  plain.download = "";
  plain.click();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-download]");
  if (!link) return;
  event.preventDefault();
  download(link);
});

customElements.define("unveil-compare", UnveilCompare);

window.unveil = {
  strength(percent) {
    strength = Math.min(Math.max(percent / 100, 0), 1);
    for (const view of document.querySelectorAll("unveil-compare:not([fixed])")) {
      if (view.corner) view.drawSplit();
    }
  },
};
