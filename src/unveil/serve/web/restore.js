// The first tab: drop photos, restore them, look, save them.

import { canvasOf } from "./canvas.js";
import { html } from "./vendor/lit-html.js";
import { downloadZip } from "./vendor/client-zip.js";
import { shares } from "./command.js";
import { ACCEPT, dropArea, images, sampleList } from "./drop.js";
import { Panel, shown, told } from "./panel.js";
import { forget, keep, kept } from "./store.js";
import { t } from "./texts.js";

const OPTIONS = {
  task: "auto", model: "", ensemble: false, strength: 1, luma: null, chroma: null, format: "", quality: null,
};
// Of these a photo is restored anew when they change.
const RUN_OPTIONS = ["task", "model", "ensemble"];
const TOUCH_MS = 240_000;
const PAUSE_MS = 300;
const THUMB = 168;

export class RestoreTab {
  photos = [];
  chosen = null;
  run = null; // what is being restored: the controller that stops it, the photos, which of them
  saving = "";
  changed = new Set(); // photos whose options are not kept yet

  constructor(page) {
    this.page = page;
    this.panel = new Panel(this);
    this.opening = Promise.resolve();
    setInterval(() => this.photos.forEach((p) => p.saved && this.engine.touch?.(p.saved)), TOUCH_MS);
    addEventListener("pagehide", () => this.rememberChanged());
  }

  get engine() {
    return this.page.engine;
  }

  get photo() {
    return this.photos.find((photo) => photo.id === this.chosen);
  }

  change(act) {
    this.page.change(act);
  }

  // Show the photos of the last visit; the server may still have their results.
  async revive() {
    for (const found of await kept()) {
      const photo = { ...found, options: { ...OPTIONS, ...found.options } };
      photo.thumbAddress = photo.thumb && URL.createObjectURL(photo.thumb);
      this.photos.push(photo);
    }
    if (!this.photos.length) return;
    this.change(() => (this.chosen ??= this.photos[0].id));
    await Promise.all(this.photos.map((photo) => this.queued(photo, () => this.found(photo))));
    this.choose(this.chosen);
    const running = this.photos.filter((photo) => photo.running);
    if (running.length && !this.run) await this.restore(running);
  }

  async found(photo) {
    if (!photo.saved || !this.photos.includes(photo)) return;
    const old = await this.engine.find(photo.saved, photo.file).catch(() => null);
    if (!old) photo.saved = null;
    else {
      const finished = old.made && old.made.saved.version !== photo.saved.version;
      await this.shown(photo, old.before);
      if (old.made) this.made(photo, old.made, finished ? photo.asked : photo.ran);
      photo.running = old.running;
    }
    this.change();
  }

  async take(files) {
    const now = Date.now();
    const added = files.map((file, i) => ({
      id: crypto.randomUUID?.() ?? String(Math.random()), order: now + i / 1000, name: file.name || "photo.png",
      file, options: { ...OPTIONS, ...(this.photo && { task: this.photo.options.task }) }, phase: "opening",
    }));
    if (!added.length) return;
    this.change(() => {
      this.photos.push(...added);
      this.chosen = added[0].id;
    });
    for (const photo of added) this.ensure(photo);
  }

  // Open a photo unless it is open; then ask what the network sees.
  async ensure(photo) {
    await photo.pending;
    return Boolean(photo.before && photo.saved) || this.queued(photo, () => this.open(photo));
  }

  // Photos are found and opened one after the other, each of them once.
  queued(photo, act) {
    photo.pending ??= (this.opening = this.opening.then(act).finally(() => (photo.pending = null)));
    return photo.pending;
  }

  async open(photo) {
    if (!this.photos.includes(photo)) return false;
    this.change(() => Object.assign(photo, { phase: "opening", sent: 0, error: null }));
    try {
      const { saved, before, notice } = await this.engine.open(photo.file, {
        progress: (share) => this.change(() => (photo.sent = share)),
      });
      Object.assign(photo, { saved, notice });
      await this.shown(photo, before);
      if (!photo.seen && this.engine.inspects) this.look(photo);
    } catch (error) {
      photo.error = error.message;
      if (!photo.thumb) {
        // What was never shown is told above, not kept in the list.
        this.page.complain(error.message);
        this.remove(photo);
      }
    }
    this.change(() => (photo.phase = null));
    await this.remember(photo);
    return Boolean(photo.before);
  }

  async shown(photo, before) {
    const picture = await createImageBitmap(before);
    photo.size = [picture.width, picture.height];
    if (!photo.thumb) {
      photo.thumb = await thumbnail(picture);
      photo.thumbAddress = URL.createObjectURL(photo.thumb);
    }
    picture.close();
    if (photo.before) URL.revokeObjectURL(photo.before);
    photo.before = URL.createObjectURL(before);
  }

  async look(photo) {
    photo.looking = true;
    try {
      photo.seen = await this.engine.look(photo.saved);
    } catch {
      // Restoring does not need it.
    }
    this.change(() => (photo.looking = false));
    await this.remember(photo);
  }

  choose(id) {
    this.change(() => (this.chosen = id));
    if (this.photo && !this.photo.before) this.ensure(this.photo);
  }

  remove(photo) {
    const at = this.photos.indexOf(photo);
    if (this.run?.photo === photo) this.run.controller.abort();
    if (photo.saved) this.engine.close(photo.saved);
    forget(photo);
    for (const address of [photo.before, photo.after, photo.thumbAddress]) if (address) URL.revokeObjectURL(address);
    this.photos.splice(at, 1);
    if (this.chosen === photo.id) this.choose((this.photos[at] || this.photos[at - 1])?.id ?? null);
    this.change();
  }

  set(options) {
    const { photo } = this;
    this.change(() => Object.assign(photo.options, options));
    this.changed.add(photo);
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.rememberChanged(), PAUSE_MS);
  }

  // What has been removed in the meantime is not kept again.
  async remember(photo) {
    if (this.photos.includes(photo)) await keep(photo);
  }

  rememberChanged() {
    this.changed.forEach((photo) => this.remember(photo));
    this.changed.clear();
  }

  setForAll() {
    const { options } = this.photo;
    for (const photo of this.photos) {
      photo.options = { ...options };
      this.remember(photo);
    }
    this.change();
  }

  waiting() {
    return this.photos.filter((photo) => !isDone(photo) && !photo.error);
  }

  // Restore what waits, the photo in view first; without any, that photo again.
  async restore(photos = this.waiting()) {
    const todo = photos.length ? photos.sort((a, b) => (b === this.photo) - (a === this.photo)) : [this.photo];
    const run = (this.run = { controller: new AbortController(), todo, began: Date.now() });
    const { signal } = run.controller;
    for (const [i, photo] of run.todo.entries()) {
      if (signal.aborted) break;
      if (!this.photos.includes(photo)) continue;
      this.change(() => Object.assign(run, { photo, number: i + 1, progress: null }));
      await this.restoreOne(photo, signal);
    }
    const failed = run.todo.find((photo) => photo.error);
    this.run = null;
    this.page.announce(signal.aborted ? t("cancelled") : failed ? failed.error : told(this.photo));
  }

  async restoreOne(photo, signal) {
    photo.error = null;
    try {
      if (!(await this.ensure(photo))) return;
      let made;
      const progress = (now) => this.change(() => this.run && (this.run.progress = now));
      const { running } = photo;
      photo.running = false;
      if (!running) photo.asked = { ...photo.options };
      const options = photo.asked;
      await this.remember(photo);
      try {
        made = await this.engine.restore(photo.saved, options, { progress, signal, running });
      } catch (error) {
        if (error.status !== 404) throw error;
        // The server has forgotten the photo, which is still here.
        photo.saved = null;
        if (!(await this.ensure(photo))) return;
        made = await this.engine.restore(photo.saved, options, { progress, signal });
      }
      this.made(photo, made, options);
    } catch (error) {
      if (error.name !== "AbortError") photo.error = error.message;
    }
    await this.remember(photo);
    this.change();
  }

  made(photo, made, ran) {
    if (photo.after) URL.revokeObjectURL(photo.after);
    photo.after = URL.createObjectURL(made.after);
    Object.assign(photo, { made, ran, saved: made.saved, size: made.size, error: null });
  }

  cancel() {
    if (Date.now() - this.run.began < 400) return; // the second half of a double click
    this.change(() => (this.run.stopping = true));
    this.run.controller.abort();
  }

  async written(photo) {
    const [luma, chroma] = shares(photo.options);
    const { format, quality } = photo.options;
    try {
      return await this.engine.result(photo.saved, { luma, chroma, format, quality, mask: photo.mask, name: photo.name });
    } catch (error) {
      if (error.status !== 404) throw error;
      Object.assign(photo, { saved: null, made: null, after: null });
      throw new Error(t("expired", { name: photo.name }));
    }
  }

  async save(act) {
    this.change(() => (this.saving = t("writing")));
    try {
      await act();
      this.saving = "";
    } catch (error) {
      this.saving = error.message;
    }
    this.change();
  }

  download() {
    const { photo } = this;
    return this.save(async () => {
      const { blob, name } = await this.written(photo);
      saveBlob(blob, name);
    });
  }

  downloadAll() {
    const done = this.photos.filter((photo) => photo.made);
    return this.save(async () => {
      const taken = new Set();
      const each = async function* (tab) {
        for (const photo of done) {
          const { blob, name } = await tab.written(photo);
          yield { name: unique(name, taken), input: blob, lastModified: new Date() };
        }
      };
      saveBlob(await downloadZip(each(this)).blob(), "unveil.zip");
    });
  }

  drawn() {
    const view = document.getElementById("view");
    const { photo } = this;
    if (!view || !photo) return;
    const [luma, chroma] = shares(photo.options);
    view.onmask ??= view.addEventListener("mask", (event) => this.masked(event.detail)) || true;
    view.show({
      name: photo.name, size: photo.size || [1, 1], before: photo.before, after: photo.after, luma, chroma,
      mask: photo.mask || null, paints: true,
    });
  }

  masked(mask) {
    this.photo.mask = mask;
    this.remember(this.photo);
    this.change();
  }

  view() {
    const some = this.photos.length > 0;
    return html`${this.drop(some)} ${some ? "" : this.samples()}
      ${some ? html`<div class="work"><section class="look" aria-label=${t("photos")}>
        <unveil-compare id="view"></unveil-compare> ${this.strip()}</section>
        <section class="side" aria-label=${t("controls")}>${this.panel.view()}</section></div>` : ""}`;
  }

  drop(small) {
    const kinds = this.engine.formats.map(shown).join(t("comma"));
    const take = (event) => {
      this.take(event.target.webkitdirectory ? images(event.target.files) : [...event.target.files]);
      event.target.value = "";
    };
    return html`<div class="drop ${small ? "small" : ""}">
      ${dropArea("drop", "files", t(small ? "add" : "drop"), t("dropMore", { kinds: kinds + t(this.engine.deep ? "deep" : "shallow") }))}
      <button type="button" class="quiet" @click=${() => document.getElementById("folder").click()}>${t("folder")}</button>
      <input id="files" type="file" accept=${ACCEPT} multiple hidden @change=${take}>
      <input id="folder" type="file" webkitdirectory hidden @change=${take}>
    </div>`;
  }

  samples() {
    const offered = this.page.samples.filter((sample) => sample.degradation);
    return sampleList(this.engine, offered, async (file) => {
      await this.take([file]);
      this.page.focus("#go");
    });
  }

  strip() {
    const away = (photo) => {
      const at = this.photos.indexOf(photo);
      this.remove(photo);
      this.page.focus(this.photos.length ? `.strip li:nth-child(${Math.min(at + 1, this.photos.length)}) .thumb` : "#drop");
    };
    const all = () => {
      [...this.photos].forEach((photo) => this.remove(photo));
      this.page.focus("#drop");
    };
    const thumb = (photo) => {
      const state = photo.error ? "failed" : isDone(photo) ? "done" : "waiting";
      const label = `${photo.name}, ${photo.error || t({ failed: "stateFailed", done: "stateDone", waiting: "stateWaiting" }[state])}`;
      return html`<li class=${state}>
        <button type="button" class="thumb" aria-label=${label} aria-pressed=${String(photo.id === this.chosen)} title=${photo.name}
          @click=${() => this.choose(photo.id)}>${photo.thumbAddress ? html`<img src=${photo.thumbAddress} alt="">` : ""}
          <i aria-hidden="true">${{ failed: "!", done: "✓", waiting: "" }[state]}</i></button>
        <button type="button" class="away" aria-label=${t("remove", { name: photo.name })} @click=${() => away(photo)}>×</button></li>`;
    };
    return html`<ul class="strip" aria-label=${t("photos")}>${this.photos.map(thumb)}</ul>
      ${this.photos.length > 1 ? html`<button type="button" class="quiet" @click=${all}>${t("removeAll")}</button>` : ""}`;
  }
}

// Whether a photo has been restored with the options that it has now.
const isDone = ({ made, ran, options }) => Boolean(made) && (!ran || RUN_OPTIONS.every((key) => ran[key] === options[key]));

async function thumbnail(picture) {
  const scale = Math.min(1, THUMB / Math.max(picture.width, picture.height));
  const canvas = canvasOf(picture, { width: picture.width * scale, height: picture.height * scale });
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// A name with a number where it is taken; names that differ in case only are the same on many systems.
function unique(name, taken) {
  const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/.exec(name);
  let wanted = name;
  for (let number = 2; taken.has(wanted.toLowerCase()); number += 1) wanted = `${stem} (${number})${suffix ?? ""}`;
  taken.add(wanted.toLowerCase());
  return wanted;
}
