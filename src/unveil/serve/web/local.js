// The engine that works in the browser: decoding and encoding here, the network in a worker.

import { canvasOf } from "./canvas.js";
import { images } from "./drop.js";
import { t } from "./texts.js";
import { carried, withMetadata } from "./metadata.js";

const BASE = document.baseURI;
const TYPES = { jpeg: "image/jpeg", png: "image/png", webp: "image/webp" };
const DECODED = /\.(jpe?g|jpe|jfif|png|webp|avif|bmp)$/i;
const MOST_MEGAPIXELS = 100;
const QUALITY = 95;
// Of a change that is kept: 1/64 of a level of 255.
export const STEPS = 64;

export async function create() {
  const answer = await fetch(new URL("site.json", BASE));
  if (!answer.ok) throw new Error("site.json is missing: make this folder with `unveil web --out`");
  return new LocalEngine(await answer.json());
}

class LocalEngine {
  files = new Map();

  constructor(site) {
    Object.assign(this, { site, models: site.models, tasks: Object.keys(site.tasks), removes: site.removes, list: site.samples });
    this.limits = { max_bytes: Infinity, max_megapixels: MOST_MEGAPIXELS, keep_s: 0 };
    this.formats = ["jpeg", "png", "webp", "avif", "bmp"];
    this.outputs = Object.keys(TYPES);
    this.inspector = site.models.find((model) => model.inspects);
    this.inspects = Boolean(this.inspector);
    Object.assign(this, { degrades: false, deep: false, averages: false, place: "browser" });
  }

  // The network for a photo's options.
  modelFor({ model, task }) {
    const id = model || this.site.tasks[task].model;
    return this.site.models.find((found) => found.id === id);
  }

  // The options that give `unveil restore` the same network.
  commandOptions(options) {
    const { model, named } = this.site.tasks[options.task];
    return { ...options, model: options.model || (named ? model : "") };
  }

  async samples() {
    return this.list;
  }

  thumbnail(sample) {
    return new URL(`samples/${sample.id}.thumbnail.png`, BASE).href;
  }

  async sample({ id }) {
    const blob = await (await fetch(new URL(`samples/${id}.png`, BASE))).blob();
    return new File([blob], `${id}.png`, { type: "image/png" });
  }

  async open(file) {
    const id = crypto.randomUUID();
    (await decoded(file)).close();
    this.files.set(id, file);
    const notice = (await isDeep(file)) ? t("eightBits") : "";
    return { saved: { id }, before: file, notice };
  }

  // A change that was kept survives a reload with the list.
  async find(saved, file) {
    this.files.set(saved.id, file);
    if (saved.change) return { before: file, made: { ...saved.made, saved, after: await this.after(saved) } };
    (await decoded(file)).close();
    return { before: file, made: null };
  }

  async look(saved) {
    const { rgba, width, height } = pixels(await decoded(this.files.get(saved.id)));
    return this.ask("look", this.inspector, { rgba, width, height });
  }

  async restore(saved, options, { progress, signal }) {
    const model = this.modelFor(options);
    const { rgba, width, height } = pixels(await decoded(this.files.get(saved.id)));
    const began = performance.now();
    const told = ({ share, text }) => {
      const passed = (performance.now() - began) / 1000;
      progress({ share, eta_s: share > 0.02 ? (passed * (1 - share)) / share : null, text: text && t(text) });
    };
    const { change, tiles } = await this.ask("restore", model, { rgba, width, height }, told, signal);
    const seconds = (performance.now() - began) / 1000;
    const made = { size: [width, height], model: model.id, task: options.task, tiles, seconds };
    // A blob may lie on the disk: memory does not grow with the list.
    const kept = { ...saved, change: new Blob([change]), made };
    return { ...made, saved: kept, after: await this.after(kept) };
  }

  // As the page shows it: with the photo's profile, as the browser shows the photo.
  async after(saved) {
    const file = this.files.get(saved.id);
    const plain = await encoded(await blended(await decoded(file), saved, { luma: 1, chroma: 1 }), "image/jpeg", 93);
    const { icc } = await carried(file);
    return withMetadata(plain, "jpeg", { icc });
  }

  async result(saved, { luma, chroma, format, quality, mask, name }) {
    const file = this.files.get(saved.id);
    const own = Object.keys(TYPES).find((kind) => TYPES[kind] === file.type);
    const kind = format || own || "png";
    const canvas = await blended(await decoded(file), saved, { luma, chroma, mask });
    const plain = await encoded(canvas, TYPES[kind], quality || QUALITY);
    const blob = await withMetadata(plain, kind, await carried(file));
    const suffix = kind === own ? /\.[^.]*$/.exec(name)?.[0] : null;
    return { blob, name: `${name.replace(/\.[^.]*$/, "")}.restored${suffix || `.${kind.replace("jpeg", "jpg")}`}` };
  }

  async close(saved) {
    this.files.delete(saved.id);
  }

  // Ask the worker, which does one thing at a time; to stop it is to end it.
  ask(kind, model, image, progress, signal) {
    const turn = () => new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const worker = (this.worker ??= new Worker(new URL("worker.js", BASE), { type: "module" }));
      const end = (act, value) => {
        signal?.removeEventListener("abort", stop);
        act(value);
      };
      const lose = (error) => {
        worker.terminate();
        this.worker = null;
        end(reject, error);
      };
      const stop = () => lose(new DOMException("cancelled", "AbortError"));
      signal?.addEventListener("abort", stop);
      worker.onmessage = ({ data }) => {
        if (data.progress) progress?.(data.progress);
        else if (data.error) end(reject, new Error(data.error));
        else end(resolve, data.result);
      };
      worker.onerror = (event) => lose(new Error(event.message || t("outOfMemory")));
      const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
      const { weights } = this.site;
      worker.postMessage({ kind, model, weights, base: BASE, threads, ...image }, [image.rgba.buffer]);
    });
    const asked = (this.last ?? Promise.resolve()).catch(() => {}).then(turn);
    this.last = asked;
    // What waits for its turn is given up at once, too.
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")), { once: true });
      asked.then(resolve, reject);
    });
  }
}

// A photo's own samples, upright: no colour management, as the network takes them.
async function decoded(file) {
  try {
    const picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    if (picture.width * picture.height > MOST_MEGAPIXELS * 1e6) throw new RangeError(t("tooLarge", { name: file.name }));
    return picture;
  } catch (error) {
    if (error instanceof RangeError) throw error;
    const foreign = images([file]).length && !DECODED.test(file.name);
    throw new Error(t(foreign ? "browserCannot" : "unknown", { name: file.name }));
  }
}

// Large pictures must not wait for the garbage collector.
function drawn(picture) {
  const canvas = canvasOf(picture);
  picture.close();
  return canvas;
}

function pixels(picture) {
  const canvas = drawn(picture);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  canvas.width = canvas.height = 0;
  return { rgba: data, width, height };
}

async function encoded(canvas, type, quality) {
  const blob = await canvas.convertToBlob({ type, quality: quality / 100 });
  canvas.width = canvas.height = 0;
  return blob;
}

// Return a canvas with the change applied, by rows: as `Strength.scaled` and `add_residual` do.
async function blended(picture, saved, { luma, chroma, mask }) {
  const canvas = drawn(picture);
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const shares = mask && canvasOf(mask, { width, height }).getContext("2d");
  const rows = Math.max(1, Math.floor(2 ** 22 / width));
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    const part = context.getImageData(0, top, width, count);
    const bytes = saved.change.slice(top * width * 6, (top + count) * width * 6);
    const change = new Int16Array(await bytes.arrayBuffer());
    const kept = shares?.getImageData(0, top, width, count).data;
    const { data } = part;
    for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
      const grey = (luma - chroma) * (0.299 * change[j] + 0.587 * change[j + 1] + 0.114 * change[j + 2]);
      const share = (kept ? kept[i + 3] / 255 : 1) / STEPS;
      // Rounded steps, clamped by the array's type.
      for (let c = 0; c < 3; c += 1) data[i + c] += Math.round((chroma * change[j + c] + grey) * share);
    }
    context.putImageData(part, 0, top);
  }
  return canvas;
}

// A PNG of 16 bits: the browser hands out 8 of them.
async function isDeep(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  return head[1] === 0x50 && head[2] === 0x4e && head[24] === 16;
}
