// The engine that works on the server: the page's way to the API below /v1.

import { canvasOf } from "./canvas.js";

const BASE = document.baseURI;
const RETRY_MS = 1500;

export async function create() {
  const info = await (await asked("v1/models")).json();
  return new ServerEngine(info);
}

class ServerEngine {
  constructor({ models, tasks, choices, limits }) {
    Object.assign(this, { models, tasks, choices, limits, removes: tasks });
    this.formats = limits.formats;
    this.degrades = true;
    this.inspects = models.some((model) => model.inspects);
    this.deep = this.averages = true;
    this.place = limits.local ? "machine" : "server";
  }

  // The options that give `unveil restore` the same network.
  commandOptions(options) {
    const id = options.model || this.choices[options.task];
    const { file } = this.models.find((model) => model.id === id);
    return { ...options, model: file ?? options.model };
  }

  async samples() {
    return (await asked("v1/samples")).json();
  }

  thumbnail(sample) {
    return new URL(`v1/samples/${sample.id}/thumbnail`, BASE).href;
  }

  async sample({ id, degradation }) {
    const blob = await (await asked(`v1/samples/${id}`)).blob();
    return new File([blob], `${id}.${degradation ? "png" : "jpg"}`, { type: blob.type });
  }

  // Send a photo; return what finds it again, and its picture as the browser can show it.
  async open(file, { progress, signal } = {}) {
    if (file.size > this.limits.max_bytes) {
      const [size, most] = [file.size, this.limits.max_bytes].map((bytes) => Math.ceil(bytes / 1e6));
      throw new Error(`${file.name}: ${size} MB; this server takes up to ${most} MB`);
    }
    const form = formOf({ image: [file, file.name || "photo"], start: false });
    const job = await posted("v1/jobs", form, progress, signal);
    const [image] = job.images;
    if (image.error) throw new Error(image.error);
    const before = await (await asked(`v1/jobs/${job.id}/images/0/before`, { signal })).blob();
    return { saved: { job: job.id, version: 0 }, before };
  }

  // Find a photo again after a reload: null where the server no longer has it.
  async find(saved) {
    const answer = await fetch(new URL(`v1/jobs/${saved.job}`, BASE));
    if (!answer.ok) return null;
    const [image] = (await answer.json()).images;
    const before = await (await asked(`v1/jobs/${saved.job}/images/0/before`)).blob();
    if (image.state !== "done") return { before, made: null, running: ["waiting", "running"].includes(image.state) };
    return { before, made: await this.made(saved, image) };
  }

  async look(saved, signal) {
    return (await asked(`v1/jobs/${saved.job}/images/0/seen`, { signal, patient: true })).json();
  }

  // Restore a photo, or follow one that is `running` since before a reload.
  async restore(saved, options, { progress, signal, running }) {
    if (!running) await this.start(saved, options, signal);
    const image = await this.followed(saved.job, progress, signal);
    if (image.state === "cancelled") throw new DOMException("cancelled", "AbortError");
    if (image.state !== "done") throw new Error(image.error || "not restored");
    return this.made(saved, image);
  }

  async start(saved, { task, model, ensemble }, signal) {
    const { state } = await (await asked(`v1/jobs/${saved.job}`, { signal })).json();
    if (state === "running") {
      // Another tab's, perhaps with other options.
      await asked(`v1/jobs/${saved.job}/cancel`, { method: "POST", signal });
      await this.followed(saved.job, () => {}, signal);
    }
    const body = formOf({ task, model, ensemble: Boolean(ensemble) });
    await asked(`v1/jobs/${saved.job}/start`, { method: "POST", body, signal });
  }

  async made(saved, image) {
    const after = await (await asked(`v1/jobs/${saved.job}/images/0/after?${image.version}`)).blob();
    const { width, height, model, task, tiles, seconds, version } = image;
    return { saved: { ...saved, version }, after, size: [width, height], model, task, tiles, seconds };
  }

  // Pass a job's progress on until it ends.
  followed(job, progress, signal) {
    return new Promise((resolve, reject) => {
      const events = new EventSource(new URL(`v1/jobs/${job}/events`, BASE));
      const cancel = () => fetch(new URL(`v1/jobs/${job}/cancel`, BASE), { method: "POST" });
      signal?.addEventListener("abort", cancel);
      if (signal?.aborted) cancel();
      const end = (act, value) => {
        events.close();
        signal?.removeEventListener("abort", cancel);
        act(value);
      };
      let failures = 0;
      events.addEventListener("image", (event) => {
        failures = 0;
        progress(JSON.parse(event.data));
      });
      events.addEventListener("end", (event) => end(resolve, JSON.parse(event.data).images[0]));
      events.onerror = () => {
        // The browser connects again by itself, unless the server refuses.
        failures += 1;
        if (events.readyState === EventSource.CLOSED || failures > 5) end(reject, unreachable());
      };
    });
  }

  async result(saved, { luma, chroma, format, quality, mask }) {
    // White where the photo is restored.
    const gray = mask && [await canvasOf(mask, { ground: "#000" }).convertToBlob(), "mask.png"];
    const body = formOf({ strength_luma: luma, strength_chroma: chroma, format, quality, mask: gray });
    const answer = await asked(`v1/jobs/${saved.job}/images/0/result`, { method: "POST", body });
    return { blob: await answer.blob(), name: named(answer) || "restored" };
  }

  // Say that a photo is still in use.
  touch(saved) {
    return fetch(new URL(`v1/jobs/${saved.job}`, BASE)).catch(() => {});
  }

  // Delete a photo and what was made of it.
  close(saved) {
    return fetch(new URL(`v1/jobs/${saved.job}`, BASE), { method: "DELETE", keepalive: true }).catch(() => {});
  }

  async degrade(file, degradation) {
    const body = formOf({ image: [file, file.name], max_megapixels: 2, degradation });
    const blob = await (await asked("v1/degrade", { method: "POST", body, patient: true })).blob();
    const stem = file.name.replace(/\.[^.]*$/, "");
    return new File([blob], degradation ? `${stem}-degraded.png` : `${stem}.png`, { type: "image/png" });
  }

  async score(file, clean) {
    const body = formOf({ image: [file, "image.png"], reference: [clean, "reference.png"] });
    return (await asked("v1/score", { method: "POST", body, patient: true })).json();
  }
}

const unreachable = () => new Error("the server does not answer; is it still running?");

// Fetch from the server; an error is its one line. A patient caller waits while it is busy.
async function asked(path, { patient = false, ...options } = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(new URL(path, BASE), options);
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    if (answer.ok) return answer;
    if (answer.status !== 503 || !patient) {
      throw Object.assign(new Error(await problem(answer)), { status: answer.status });
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  return typeof body.error === "string" ? body.error : `the server answered ${answer.status}`;
}

// XMLHttpRequest, as `fetch` does not say how much has been sent.
function posted(path, form, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(path, BASE));
    request.responseType = "json";
    request.upload.onprogress = (event) => progress?.(event.loaded / (event.total || 1));
    request.onload = () => {
      if (request.status < 300) resolve(request.response);
      else reject(new Error(request.response?.error || `the server answered ${request.status}`));
    };
    request.onerror = () => reject(unreachable());
    signal?.addEventListener("abort", () => request.abort());
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.send(form);
  });
}

// The name in a Content-Disposition header.
function named(answer) {
  const header = answer.headers.get("content-disposition") || "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1];
  return encoded ? decodeURIComponent(encoded) : /filename="([^"]+)"/.exec(header)?.[1];
}

// Fields as a form; a file with its name is a list, and what is empty is left out.
function formOf(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (Array.isArray(value)) form.append(name, ...value);
    else if (value !== null && value !== undefined && value !== "") form.append(name, String(value));
  }
  return form;
}
