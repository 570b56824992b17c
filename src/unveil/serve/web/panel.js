// Beside a photo: what the network sees, options, progress, strength, how the result is saved.

import { command, shares } from "./command.js";
import { listed, t } from "./texts.js";
import { html } from "./vendor/lit-html.js";

const LOSSY = ["jpeg", "webp", "avif", "heic"];

export const shown = (format) => (format === "webp" ? "WebP" : format.toUpperCase());

export class Panel {
  constructor(tab) {
    this.tab = tab;
  }

  // What stands beside a photo.
  view() {
    const { photo } = this.tab;
    if (!photo) return "";
    return html`${this.report(photo)} ${photo.notice ? html`<p class="quiet">${photo.notice}</p>` : ""}
      ${this.settings(photo)} ${this.go(photo)}
      ${photo.error ? html`<p class="problem" role="alert">${photo.error}</p>` : ""}
      ${photo.made && !this.tab.run ? html`<p class="quiet told">${told(photo)}</p>` : ""}
      ${photo.made ? html`${this.strength(photo)} ${this.saveAs(photo)}` : ""} ${this.commandLine(photo)}`;
  }

  report(photo) {
    if (!this.tab.engine.inspects) return html`<p class="quiet">${t("cannotSee")}</p>`;
    const { seen } = photo;
    const waits = photo.looking || photo.phase === "opening";
    if (!seen) return html`<div><h2>${t("seenHead")}</h2><p class="quiet">${t(waits ? "looking" : "notSeen")}</p></div>`;
    const bars = Object.entries(seen.probabilities).map(([cause, chance]) => html`<li><span>${t(cause)}</span>
      <meter min="0" max="1" .value=${chance} aria-label=${t(cause)}></meter><b>${Math.round(100 * chance)} %</b></li>`);
    return html`<div class="report"><h2>${t("seenHead")}</h2><p>${sentence(seen)}</p><ul class="seen">${bars}</ul></div>`;
  }

  settings(photo) {
    const { options } = photo;
    const { averages, models } = this.tab.engine;
    const model = models.find(({ id }) => id === options.model);
    const tasks = model ? ["auto", ...model.tasks] : this.tab.engine.tasks;
    const option = (value, text, chosen) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`;
    const pickModel = (event) => {
      const found = models.find(({ id }) => id === event.target.value);
      const task = !found || options.task === "auto" || found.tasks.includes(options.task) ? options.task : "auto";
      this.tab.set({ model: event.target.value, task });
    };
    const chosen = [options.task !== "auto" && t(options.task), options.model, options.ensemble && t("careful")].filter(Boolean);
    return html`<details id="settings"><summary>${t("settings", { chosen: chosen.join(t("comma")) || t("auto").toLowerCase() })}</summary>
      <div class="fields"><label>${t("task")}<select id="task" .value=${options.task} @change=${(e) => this.tab.set({ task: e.target.value })}>
        ${tasks.map((task) => option(task, t(task), options.task))}</select></label>
      ${models.length > 1 ? html`<label>${t("model")}<select id="model" .value=${options.model} @change=${pickModel}>
        ${option("", t("auto"), options.model)}${models.map(({ id }) => option(id, id, options.model))}</select></label>` : ""}
      ${averages ? html`<label class="check"><input type="checkbox" id="ensemble" .checked=${options.ensemble}
        @change=${(e) => this.tab.set({ ensemble: e.target.checked })}><span>${t("ensemble")}</span></label>` : ""}
      ${this.tab.photos.length > 1 ? html`<button type="button" class="quiet" @click=${() => this.tab.setForAll()}>${t("forAll")}</button>` : ""}
      </div></details>`;
  }

  // One button for both, so that the keyboard's focus stays where it is.
  go(photo) {
    const waiting = this.tab.waiting();
    const clean = photo.seen?.verdict.includes("clean");
    let text = t("restoreAgain");
    if (waiting.length > 1) text = t("restoreMany", { count: waiting.length });
    else if (waiting.length) text = t(clean && waiting[0] === photo ? "restoreClean" : "restore");
    const { run } = this.tab;
    return html`${run ? this.progress(run) : photo.phase === "opening" ? bar(t("sending", { name: photo.name }), photo.sent || null) : ""}
      <button type="button" id="go" class=${run ? "" : waiting.length ? "main" : ""} ?disabled=${!run && !photo.file}
        @click=${() => (this.tab.run ? this.tab.cancel() : this.tab.restore())}>${run ? t("cancel") : text}</button>`;
  }

  progress(run) {
    const count = run.todo.length > 1 ? t("photoOf", { number: run.number, count: run.todo.length }) : "";
    const now = run.progress;
    if (run.stopping) return bar(t("stopping"), null);
    if (run.photo?.phase === "opening") return bar(count + t("sending", { name: run.photo.name }), run.photo.sent || null);
    if (!now) return bar(count + t("preparing"), null);
    if (now.text) return bar(count + now.text, now.share);
    if (now.position) return bar(count + t("waitingFor", { count: now.position }), null);
    const left = now.eta_s > 1 ? t("left", { time: spoken(now.eta_s) }) : "";
    return bar(count + t("progress", { percent: Math.round(100 * now.share) }) + left, now.share || null);
  }

  strength({ options }) {
    const [luma, chroma] = shares(options);
    const apart = options.luma !== null || options.chroma !== null;
    // What is drawn may be older than the last event.
    const now = () => shares(this.tab.photo.options);
    return html`<div class="fields" role="group" aria-label=${t("strength")}>
      ${slider("strength", t("strength"), { value: options.strength }, (strength) => this.tab.set({ strength, luma: null, chroma: null }))}
      <p class="quiet">${t("strengthHelp")}</p>
      <details ?open=${apart}><summary>${t("apart")}</summary>
        ${slider("luma", t("luma"), { value: luma }, (value) => this.tab.set({ luma: value, chroma: now()[1] }))}
        ${slider("chroma", t("chroma"), { value: chroma }, (value) => this.tab.set({ luma: now()[0], chroma: value }))}</details></div>`;
  }

  saveAs({ options }) {
    const done = this.tab.photos.filter((photo) => photo.made).length;
    const lossy = !options.format || LOSSY.includes(options.format);
    return html`<div class="fields"><div class="row">
      <label>${t("format")}<select id="format" .value=${options.format} @change=${(e) => this.tab.set({ format: e.target.value })}>
        ${["", ...this.tab.engine.outputs ?? this.tab.engine.formats].map((name) => html`<option value=${name} ?selected=${name === options.format}>
          ${name ? shown(name) : t("sameFormat")}</option>`)}</select></label>
      ${lossy ? html`<label>${t("quality")}<input type="number" id="quality" min="1" max="100" placeholder=${t("sameQuality")}
        .value=${options.quality ?? ""} @change=${(e) => this.tab.set({ quality: quality(e.target) })}></label>` : ""}</div>
      <button type="button" id="download" class="main" @click=${() => this.tab.download()}>${t("download")}</button>
      ${done > 1 ? html`<button type="button" id="zip" @click=${() => this.tab.downloadAll()}>${t("downloadAll", { count: done })}</button>` : ""}
      <p class="quiet" role="status">${this.tab.saving}</p></div>`;
  }

  commandLine(photo) {
    const text = command(photo.name, this.tab.engine.commandOptions(photo.options));
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(text);
        this.tab.change(() => (this.copied = text));
        setTimeout(() => this.tab.change(() => (this.copied = null)), 1500);
      } catch {
        getSelection().selectAllChildren(document.getElementById("command"));
      }
    };
    return html`<details><summary>${t("commandHead")}</summary><div class="command"><code id="command" tabindex="0">${text}</code>
      <button type="button" @click=${copy}>${t(this.copied === text ? "copied" : "copy")}</button></div>${photo.mask ? html`<p class="quiet">${t("commandMask")}</p>` : ""}</details>`;
  }
}

export const bar = (text, share) => html`<div class="progress">
  ${share === null ? html`<progress max="1" aria-label=${text}></progress>` : html`<progress max="1" .value=${share} aria-label=${text}></progress>`}
  <p>${text}</p></div>`;

export const slider = (id, label, { value, max = 1, step = 0.01 }, act) => html`<label class="slider"><span>${label}</span>
  <input type="range" id=${id} min="0" max=${max} step=${step} .value=${String(value)} @input=${(e) => act(Number(e.target.value))}>
  <output>${step < 1 ? value.toFixed(2) : value}</output></label>`;

// What a network sees, in a sentence; how sure it is where that is nothing.
function sentence(seen) {
  const chances = Object.values(seen.probabilities);
  if (seen.verdict.includes("clean")) {
    const sure = chances.reduce((product, chance) => product * (1 - chance), 1);
    return t("clean", { percent: Math.round(100 * sure) });
  }
  const words = seen.verdict.map((cause) =>
    cause === "noise" && seen.sigma_255 ? t("noiseLevel", { sigma: Math.round(seen.sigma_255) }) : t(cause));
  const text = listed(words);
  return t("sees", { causes: text[0].toUpperCase() + text.slice(1) });
}

function spoken(seconds) {
  return seconds < 100 ? t("seconds", { count: Math.round(seconds) }) : t("minutes", { count: Math.round(seconds / 60) });
}

function quality(field) {
  const value = Math.round(Number(field.value));
  if (!field.value || !(value >= 1)) return null;
  return Math.min(value, 100);
}

// How a photo was restored, in a sentence.
export function told(photo) {
  if (!photo?.made) return "";
  const { seconds, model, tiles } = photo.made;
  return t("restored", { seconds: seconds.toFixed(1), model, tiles: tiles > 1 ? t("tiles", { count: tiles }) : "" });
}
