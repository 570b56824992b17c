// The second tab: add noise, rain and haze to a clean photo, restore it, measure.

import { html } from "./vendor/lit-html.js";
import { ACCEPT, dropArea, sampleList } from "./drop.js";
import { bar, slider } from "./panel.js";
import { t } from "./texts.js";

const PAIRS = [["degraded", "restored1"], ["clean1", "restored1"], ["clean1", "degraded"]];
const PAUSE_MS = 150;

export class DegradeTab {
  values = { noise: 25, rain: 0, haze: 0 };
  pair = 2;
  scores = {};
  urls = {};
  count = 0;

  constructor(page) {
    this.page = page;
  }

  get engine() {
    return this.page.engine;
  }

  change(act) {
    this.page.change(act);
  }

  async take([file]) {
    if (!file) return;
    this.run?.abort();
    try {
      const clean = await this.engine.degrade(file);
      const picture = await createImageBitmap(clean);
      Object.assign(this, { clean, name: file.name, size: [picture.width, picture.height], pair: 2 });
      this.setUrl("clean1", clean);
      await this.degrade();
    } catch (error) {
      this.page.complain(error.message);
    }
  }

  setUrl(which, blob) {
    if (this.urls[which]) URL.revokeObjectURL(this.urls[which]);
    this.urls[which] = blob ? URL.createObjectURL(blob) : null;
  }

  move(which, value) {
    this.change(() => (this.values[which] = value));
    clearTimeout(this.pausing);
    this.pausing = setTimeout(() => this.clean && this.degrade(), PAUSE_MS);
  }

  // Degrade the clean photo as the sliders stand; of many moves the last counts.
  async degrade() {
    this.run?.abort();
    const number = ++this.count;
    try {
      const degraded = await this.engine.degrade(this.clean, description(this.values));
      const score = await this.engine.score(degraded, this.clean);
      if (number !== this.count) return;
      this.setUrl("degraded", degraded);
      this.setUrl("restored1", null);
      this.change(() => Object.assign(this, { degraded, scores: { degraded: score }, pair: 2, problem: null, seconds: null }));
    } catch (error) {
      this.change(() => (this.problem = error.message));
    }
  }

  async restore() {
    const number = this.count;
    const run = (this.run = new AbortController());
    let opened;
    try {
      this.change(() => Object.assign(this, { progress: {}, problem: null }));
      opened = (await this.engine.open(this.degraded)).saved;
      const made = await this.engine.restore(opened, { task: "auto", model: "" }, {
        progress: (progress) => this.change(() => (this.progress = progress)), signal: run.signal,
      });
      const { blob } = await this.engine.result(made.saved, { luma: 1, chroma: 1, format: "png" });
      const score = await this.engine.score(blob, this.clean);
      if (number === this.count) {
        this.setUrl("restored1", blob);
        Object.assign(this, { pair: 0, scores: { ...this.scores, restored1: score } });
      }
    } catch (error) {
      if (error.name !== "AbortError") this.problem = error.message;
    }
    if (opened) this.engine.close(opened);
    this.run = null;
    this.change(() => (this.progress = null));
  }

  drawn() {
    const view = document.getElementById("trial");
    if (!view || !this.degraded) return;
    const [left, right] = PAIRS[this.urls.restored1 ? this.pair : 2];
    view.show({ name: this.name, size: this.size, before: this.urls[left], after: this.urls[right], left: t(left), right: t(right) });
  }

  view() {
    const take = (event) => {
      this.take([...event.target.files]);
      event.target.value = "";
    };
    return html`<div class="drop ${this.clean ? "small" : ""}">
        ${dropArea("drop-clean", "clean", t(this.clean ? "another" : "dropOne"), t("dropDegrade"))}
        <input id="clean" type="file" accept=${ACCEPT} hidden @change=${take}></div>
      ${this.clean ? "" : this.samples()}
      ${this.problem ? html`<p class="problem" role="alert">${this.problem}</p>` : ""}
      ${this.degraded ? html`<div class="work"><section class="look" aria-label=${t("pair")}><unveil-compare id="trial"></unveil-compare>${this.pairs()}</section>
        <section class="side" aria-label=${t("controls")}>${this.side()}</section></div>` : ""}`;
  }

  samples() {
    const offered = this.page.samples.filter((sample) => !sample.degradation);
    return sampleList(this.engine, offered, async (file) => {
      await this.take([file]);
      this.page.focus("#degrade-go");
    });
  }

  pairs() {
    if (!this.urls.restored1) return "";
    return html`<fieldset class="pairs"><legend class="unseen">${t("pair")}</legend>${PAIRS.map(([left, right], i) => html`<label>
      <input type="radio" name="pair" .checked=${this.pair === i} @change=${() => this.change(() => (this.pair = i))}>${t(left)} | ${t(right)}</label>`)}</fieldset>`;
  }

  side() {
    const degrading = (which, label, max, step) =>
      slider(`degrade-${which}`, label, { value: this.values[which], max, step }, (value) => this.move(which, value));
    const now = this.progress;
    return html`<div class="fields">${degrading("noise", t("sliderNoise"), 75, 1)} ${degrading("rain", t("sliderRain"), 1, 0.01)}
      ${degrading("haze", t("sliderHaze"), 1, 0.01)}</div>
      ${now ? bar(now.share ? t("progress", { percent: Math.round(100 * now.share) }) : t("preparing"), now.share || null) : ""}
      <button type="button" id="degrade-go" class=${now ? "" : "main"} @click=${() => (this.run ? this.run.abort() : this.restore())}>
        ${t(now ? "cancel" : "restore")}</button>
      ${this.table()}`;
  }

  table() {
    const rows = ["degraded", "restored1"].filter((name) => this.scores[name]);
    if (!rows.length) return "";
    return html`<table class="scores"><caption>${t("scores")}</caption><thead><tr><td></td><th scope="col">PSNR</th><th scope="col">SSIM</th></tr></thead>
      <tbody>${rows.map((name) => {
        const { psnr, ssim } = this.scores[name];
        return html`<tr><th scope="row">${t(name)}</th><td>${psnr === null ? t("equal") : `${psnr.toFixed(2)} dB`}</td>
          <td>${ssim === null ? "–" : ssim.toFixed(4)}</td></tr>`;
      })}</tbody></table>`;
  }
}

// What the sliders say, as a degradation of `unveil degrade`.
function description({ noise, rain, haze }) {
  const rounded = (value) => Number(value.toPrecision(4));
  return [
    haze > 0 && `haze:beta=${rounded(3 * haze)}`,
    rain > 0 && `rain:density=${rounded(1.2 * rain)},veil=${rounded(0.1 * rain)}`,
    noise > 0 && `noise:sigma_255=${noise}`,
  ].filter(Boolean).join("+") || "identity";
}
