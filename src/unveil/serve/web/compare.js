// Two pictures of one size on top of each other, a line between them; full size, with zoom, pan,
// the strength of luminance and colour, and a brush for parts that stay as they were.

import { canvasOf } from "./canvas.js";
import { html, nothing, render } from "./vendor/lit-html.js";
import { t } from "./texts.js";

const STEP = 1.25;
const MOST = 16;
const MASK_SIDE = 1024;

const within = (value, low, high) => Math.min(Math.max(value, low), high);

// Properties, set together by `show`: name, size [width, height], before and after (addresses;
// without `after` there is nothing to compare), left and right (what the sides are called),
// luma and chroma (shares of the change), mask (a canvas), paints (whether the brush is offered).
class UnveilCompare extends HTMLElement {
  split = 0.5;
  zoom = 1; // times the size at which the whole photo fits
  centre = [0.5, 0.5]; // the place of the photo in the middle of the stage
  pointers = new Map();
  given = { size: [1, 1], luma: 1, chroma: 1 };
  brush = null; // "keep" or "restore" while the brush is on
  brushSize = 0.06; // of the photo's longer side

  connectedCallback() {
    if (!this.stage) this.build();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.stage);
    document.addEventListener("fullscreenchange", (this.onFull = () => this.update()));
  }

  disconnectedCallback() {
    this.observer.disconnect();
    document.removeEventListener("fullscreenchange", this.onFull);
  }

  build() {
    this.innerHTML = `
      <div class="stage" tabindex="0" role="group" aria-keyshortcuts="+ - 0 1 o f">
        <div class="layer before"><img alt=""></div>
        <div class="layer after"><img class="base" alt=""><img class="luma" alt=""><img class="chroma" alt=""></div>
        <canvas class="stroke" hidden></canvas>
        <input type="range" class="split" min="0" max="100" step="1" value="50">
        <div class="line"><div class="knob"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6l-6 6 6 6M15 6l6 6-6 6"/></svg></div></div>
        <span class="tag left"></span><span class="tag right"></span>
        <div class="wait" role="status"></div>
      </div>
      <div class="bar"></div>`;
    const find = (what) => this.querySelector(what);
    this.stage = find(".stage");
    this.layers = [find(".before"), find(".after")];
    this.images = [...this.querySelectorAll("img")]; // before, base, luma, chroma
    [this.range, this.line, this.knob] = [find(".split"), find(".line"), find(".knob")];
    this.tags = [find(".left"), find(".right")];
    [this.note, this.bar, this.stroke] = [find(".wait"), find(".bar"), find(".stroke")];
    this.listen();
    this.update();
  }

  show(given) {
    const other = this.given.name !== given.name || String(this.given.size) !== String(given.size);
    this.given = { luma: 1, chroma: 1, ...given };
    if (other) {
      [this.split, this.zoom, this.centre, this.brush] = [0.5, 1, [0.5, 0.5], null];
      this.maskShown = null;
    }
    if (this.stage) this.update();
  }

  get compares() {
    return Boolean(this.given.after);
  }

  update() {
    const { name = "", size, before, after, left, right } = this.given;
    [before, before, after, after].forEach((address, i) => this.load(this.images[i], address));
    if (!after) this.brush = null;
    this.tags[0].textContent = left || t("before");
    this.tags[1].textContent = right || t("after");
    this.stage.setAttribute("aria-label", t("stage", { name, width: size[0], height: size[1] }));
    this.range.setAttribute("aria-label", t("line"));
    this.say();
    this.showMask();
    this.drawBar();
    this.draw();
  }

  drawBar() {
    const { name = "", size } = this.given;
    const button = (label, act, text, pressed = nothing) => html`<button type="button" aria-label=${label} title=${label}
      aria-pressed=${pressed} @click=${act}>${text}</button>`;
    const hold = html`<button type="button" class="hold" @pointerdown=${() => this.hold(true)}
      @pointerup=${() => this.hold(false)} @pointerleave=${() => this.hold(false)} @blur=${() => this.hold(false)}
      @keydown=${(e) => [" ", "Enter"].includes(e.key) && this.hold(true)} @keyup=${() => this.hold(false)}>${t("hold")}</button>`;
    const paints = this.compares && this.given.paints;
    const choose = (mode) => () => {
      this.brush = this.brush === mode ? null : mode;
      this.update();
    };
    const brushes = html`
      ${button(t("keepBrushHelp"), choose("keep"), t("keepBrush"), this.brush === "keep")}
      ${this.brush || this.given.mask ? button(t("restoreBrushHelp"), choose("restore"), t("restoreBrush"), this.brush === "restore") : ""}
      ${this.brush ? html`<label class="size">${t("brushSize")} <input type="range" min="0.01" max="0.25" step="0.01"
        .value=${String(this.brushSize)} @input=${(e) => (this.brushSize = Number(e.target.value))}></label>` : ""}
      ${this.given.mask ? button(t("clearMaskHelp"), () => this.setMask(null), t("clearMask")) : ""}`;
    render(
      html`<span class="say">${name} · ${size[0]} × ${size[1]}</span>
        ${this.compares ? hold : ""} ${paints ? brushes : ""}
        <span class="zooms">${button(t("zoomOut"), () => this.act("out"), "−")}
        <output aria-live="polite" aria-label=${t("zoom")}></output>
        ${button(t("zoomIn"), () => this.act("in"), "+")} ${button(t("fitHelp"), () => this.act("fit"), t("fit"))}
        ${button(t("fullHelp"), () => this.act("full"), "100 %")}
        ${button(t("fullScreen"), () => this.fullScreen(), html`<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5" /></svg>`)}</span>`,
      this.bar,
    );
    this.percent = this.bar.querySelector("output");
  }

  load(image, address) {
    if ((image.getAttribute("src") || "") === (address || "")) return;
    image.onload = image.onerror = null;
    if (!address) {
      image.removeAttribute("src");
      return;
    }
    image.onload = () => this.say();
    image.onerror = () => this.say(t("gone"));
    image.src = address;
  }

  say(text = "") {
    const waiting = this.images.some((i) => i.getAttribute("src") && !i.complete);
    this.note.textContent = text || (waiting ? t("loading") : "");
    this.note.hidden = !this.note.textContent;
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.requestFullscreen();
  }

  hold(on) {
    this.classList.toggle("held", on);
  }

  fitted() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.given.size[0], clientHeight / this.given.size[1], this.most());
  }

  // Small photos may be seen at their own size, which is less than fits.
  least() {
    return Math.min(this.fitted(), 1 / devicePixelRatio);
  }

  most() {
    return MOST / devicePixelRatio;
  }

  draw() {
    if (!this.stage?.clientWidth) return;
    const { size } = this.given;
    // A wide photo on a narrow screen needs no tall stage.
    const wanted = Math.max(160, Math.ceil((this.stage.clientWidth * size[1]) / size[0]));
    const full = document.fullscreenElement === this;
    this.stage.style.height = full ? "" : `min(62vh, 720px, ${wanted}px)`;
    const room = [this.stage.clientWidth, this.stage.clientHeight];
    const fit = this.fitted();
    this.zoom = within(this.zoom, this.least() / fit, Math.max(1, this.most() / fit));
    const scale = (this.scale = fit * this.zoom);
    this.corner = [0, 1].map((axis) => {
      const extent = size[axis] * scale;
      const margin = room[axis] / 2 / extent;
      this.centre[axis] = extent <= room[axis] ? 0.5 : within(this.centre[axis], margin, 1 - margin);
      return room[axis] / 2 - this.centre[axis] * extent;
    });
    for (const image of [...this.images, this.stroke]) {
      image.style.width = `${size[0]}px`;
      image.style.height = `${size[1]}px`;
      image.style.transform = `translate(${this.corner[0]}px, ${this.corner[1]}px) scale(${scale})`;
      image.classList.toggle("coarse", scale * devicePixelRatio >= 3);
    }
    this.stage.classList.toggle("zoomed", this.zoom > 1.001);
    this.stage.classList.toggle("compares", this.compares);
    this.stage.classList.toggle("painting", Boolean(this.brush));
    this.drawSplit();
    this.percent.textContent = `${Math.round(scale * devicePixelRatio * 100)} %`;
  }

  // The line runs over what is seen of the photo, from its left edge to its right.
  span() {
    const left = Math.max(0, this.corner[0]);
    return [left, Math.min(this.stage.clientWidth, this.corner[0] + this.given.size[0] * this.scale)];
  }

  drawSplit() {
    const [left, right] = this.span();
    const at = this.brush ? left : left + this.split * (right - left);
    for (const part of [this.line, this.range, ...this.tags]) part.hidden = !this.compares || Boolean(this.brush);
    this.layers[1].hidden = !this.compares;
    this.layers[1].style.clipPath = `inset(0 0 0 ${at}px)`;
    this.drawStrength();
    this.line.style.left = `${at}px`;
    this.range.value = Math.round(this.split * 100);
    this.range.setAttribute("aria-valuetext", t("linePlace", { percent: this.range.value }));
  }

  // The blend modes luminosity and color change luminance or colour alone, and opacity is the
  // strength: together the weighted mean that is written into the file.
  drawStrength() {
    const { luma, chroma } = this.given;
    const [, , first, second] = this.images;
    const apart = luma !== chroma;
    first.style.opacity = luma;
    first.style.mixBlendMode = apart ? "luminosity" : "normal";
    second.style.opacity = chroma;
    second.style.mixBlendMode = "color";
    second.hidden = !apart;
  }

  splitAt(clientX) {
    const [left, right] = this.span();
    const x = clientX - this.stage.getBoundingClientRect().left;
    this.split = within((x - left) / Math.max(right - left, 1), 0, 1);
    this.drawSplit();
  }

  // Zoom by `factor`; what lies at (x, y) of the stage stays there.
  zoomBy(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const before = this.scale;
    const place = [x, y].map((at, axis) => (at - this.corner[axis]) / before);
    const fit = this.fitted();
    const after = within(before * factor, this.least(), Math.max(fit, this.most()));
    this.zoom = after / fit;
    const middle = [this.stage.clientWidth / 2 - x, this.stage.clientHeight / 2 - y];
    this.centre = place.map((at, axis) => (at + middle[axis] / after) / this.given.size[axis]);
    this.draw();
  }

  pan(dx, dy) {
    this.centre[0] -= dx / (this.given.size[0] * this.scale);
    this.centre[1] -= dy / (this.given.size[1] * this.scale);
    this.draw();
  }

  act(what, x, y) {
    if (what === "in") this.zoomBy(STEP, x, y);
    if (what === "out") this.zoomBy(1 / STEP, x, y);
    if (what === "fit") this.zoomBy(1 / this.zoom);
    if (what === "full") this.zoomBy(1 / devicePixelRatio / this.scale, x, y);
  }

  listen() {
    this.range.addEventListener("input", () => {
      this.split = this.range.value / 100;
      this.drawSplit();
    });
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("keyup", (event) => event.key === "o" && this.hold(false));
    this.stage.addEventListener("wheel", (event) => {
      // A page that is scrolled past must not zoom; a pinch on a trackpad arrives with `ctrlKey`.
      if (!event.ctrlKey && this.zoom <= 1.001) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), ...this.at(event));
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) => {
      if (!this.brush) this.act(this.zoom > 1.001 ? "fit" : "full", ...this.at(event));
    });
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, (event) => {
        if (this.pointers.get(event.pointerId)?.paints) this.endStroke();
        this.pointers.delete(event.pointerId);
      });
    }
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const zooming = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "full" }[event.key];
    const moving = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (zooming) this.act(zooming);
    else if (event.key === "o") this.hold(true);
    else if (event.key === "f") this.fullScreen();
    else if (moving && document.activeElement !== this.range && this.zoom > 1.001) this.pan(...moving);
    else return;
    event.preventDefault();
  }

  press(event) {
    if (event.button) return;
    const onKnob = this.knob.contains(event.target);
    const paints = Boolean(this.brush) && !this.pointers.size;
    const splits = !this.brush && this.compares && (onKnob || this.zoom <= 1.001);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, splits, paints });
    this.stage.setPointerCapture(event.pointerId);
    if (paints) this.paint(event);
    else if (splits && event.pointerType === "mouse") this.splitAt(event.clientX);
  }

  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = { ...last, x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y) || 1;
      const box = this.stage.getBoundingClientRect();
      const middle = [(now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top];
      this.zoomBy(apart(now) / apart(last), ...middle);
    } else if (last.paints) this.paint(event, last);
    else if (last.splits) this.splitAt(event.clientX);
    else this.pan(now.x - last.x, now.y - last.y);
  }

  // The mask is opaque where the photo is restored; the brush takes that away or gives it back.
  paint(event, last) {
    const { size } = this.given;
    const longer = Math.max(...size);
    if (!this.pending) {
      const scale = Math.min(1, MASK_SIDE / longer);
      const [width, height] = size.map((side) => Math.round(side * scale));
      this.pending = this.given.mask ? canvasOf(this.given.mask) : canvasOf(null, { width, height, ground: "#fff" });
      [this.stroke.width, this.stroke.height] = [this.pending.width, this.pending.height];
      this.stroke.hidden = false;
    }
    const side = Math.max(this.pending.width, this.pending.height);
    const toMask = (x, y) => {
      const box = this.stage.getBoundingClientRect();
      const place = [(x - box.left - this.corner[0]) / this.scale, (y - box.top - this.corner[1]) / this.scale];
      return place.map((value) => (value * side) / longer);
    };
    const to = toMask(event.clientX, event.clientY);
    const from = last ? toMask(last.x, last.y) : to;
    const width = Math.max(1, this.brushSize * side);
    const keeps = this.brush === "keep";
    line(this.pending, from, to, width, keeps ? "destination-out" : "source-over", "#fff");
    line(this.stroke, from, to, width, "source-over", keeps ? "rgb(255 90 60 / 60%)" : "rgb(60 160 255 / 60%)");
  }

  endStroke() {
    this.stroke.hidden = true;
    const painted = this.pending;
    this.pending = null;
    this.setMask(painted);
  }

  setMask(mask) {
    this.given.mask = mask;
    if (!mask) this.brush = null;
    this.update();
    this.dispatchEvent(new CustomEvent("mask", { detail: mask }));
  }

  showMask() {
    const { mask = null } = this.given;
    if (mask === this.maskShown) return;
    this.maskShown = mask;
    const set = (address) => {
      for (const image of this.images.slice(2)) image.style.maskImage = address ? `url("${address}")` : "";
      if (this.maskAddress) URL.revokeObjectURL(this.maskAddress);
      this.maskAddress = address;
    };
    if (!mask) set(null);
    else mask.convertToBlob().then((blob) => mask === this.maskShown && set(URL.createObjectURL(blob)));
  }
}

function line(canvas, from, to, width, operation, colour) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = operation;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(to[0] + 0.01, to[1]);
  context.stroke();
}

customElements.define("unveil-compare", UnveilCompare);
