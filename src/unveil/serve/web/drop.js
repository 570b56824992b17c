// Files from a drop (folders too), a chooser, the clipboard or the samples.

import { html } from "./vendor/lit-html.js";
import { t } from "./texts.js";

const SUFFIXES = (
  "jpg jpeg jpe jfif png tif tiff webp avif heic heif bmp jxl ppm pgm pnm " +
  "dng 3fr arw cr2 cr3 crw dcr erf fff iiq k25 kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f"
).split(" ");
const KINDS = new RegExp(`\\.(${SUFFIXES.join("|")})$`, "i");
export const ACCEPT = SUFFIXES.map((suffix) => `.${suffix}`).join();

// Call `take(files)` with what is dropped anywhere on the page or pasted; `over(is)` while dragging.
export function listen(take, over) {
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => !event.relatedTarget && over(false));
  addEventListener("drop", async (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    over(false);
    take(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (files.length) take(files);
  });
}

// Return the images of a chosen folder; other files in it are no mistake.
export const images = (files) => [...files].filter((file) => KINDS.test(file.name));

async function dropped(transfer) {
  // Entries must be taken before the event is over.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found, true);
  return found;
}

async function walk(entry, found, named) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (named || KINDS.test(file.name)) found.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const inner of some.sort((a, b) => a.name.localeCompare(b.name))) await walk(inner, found, false);
  }
}

// The button that opens the file chooser `field`.
export const dropArea = (id, field, head, more) => html`<button type="button" id=${id} class="area"
  @click=${() => document.getElementById(field).click()}>
  <svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2" /><circle cx="8.5" cy="10" r="1.5" /><path d="M21 16l-5-5-8 8" /></svg>
  <strong>${head}</strong><span class="more">${more}</span></button>`;

// Samples as buttons; `take` gets the file of the one that is chosen.
export const sampleList = (engine, samples, take) => samples.length ? html`<div class="samples" role="group" aria-label=${t("samplesHead")}>
  <p>${t("samplesHead")}</p>${samples.map((sample) => html`<button type="button" data-sample=${sample.id}
    @click=${async () => take(await engine.sample(sample))}><img src=${engine.thumbnail(sample)} alt="" width="96" height="72">
    <span>${t(sample.id)}</span></button>`)}</div>` : "";
