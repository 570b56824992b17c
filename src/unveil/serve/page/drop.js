// Where photos are dropped, chosen or pasted; each goes up as it is, one after the other.

const DROP = `
<style>
  :host { display: block; }
  .area {
    display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 8px;
    width: 100%; min-height: 260px; padding: 24px; box-sizing: border-box; text-align: center;
    font: inherit; cursor: pointer; border-radius: 16px; color: var(--body-text-color);
    background: var(--unveil-soft); border: 2px dashed var(--unveil-dash);
    transition: border-color .15s, background .15s;
  }
  :host([small]) .area { min-height: 0; padding: 9px; flex-direction: row; border-width: 1.5px; border-radius: 12px; }
  :host([small]) svg, :host([small]) .more { display: none; }
  .area:hover, .area.over { border-color: var(--color-accent); }
  .area.over { background: var(--color-accent-soft); }
  .area:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 2px; }
  svg { width: 44px; height: 44px; stroke: var(--color-accent); fill: none; stroke-width: 1.5; }
  strong { font-size: 20px; font-weight: 600; }
  :host([small]) strong { font-size: 15px; }
  .more { font-size: 14px; color: var(--body-text-color-subdued); max-width: 46em; }
  input { display: none; }
  progress { width: 100%; height: 6px; margin-top: 8px; accent-color: var(--color-accent); }
  ul { margin: 8px 0 0; padding: 0; list-style: none; }
  li {
    display: flex; gap: 8px; align-items: start; padding: 8px 12px; margin-top: 4px;
    border-radius: 8px; font-size: 14px; color: var(--unveil-bad); background: var(--unveil-bad-soft);
    overflow-wrap: anywhere;
  }
  li span { flex: 1; }
  li button { border: 0; background: none; color: inherit; font: inherit; cursor: pointer; min-width: 28px; }
  [hidden] { display: none !important; }
</style>
<button class="area" type="button">
  <svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/><circle cx="8.5" cy="10" r="1.5"/><path d="M21 16l-5-5-8 8"/></svg>
  <strong></strong>
  <span class="more"></span>
</button>
<input type="file" tabindex="-1" aria-hidden="true">
<progress hidden aria-label="Sending"></progress>
<ul role="alert"></ul>`;

const KINDS = ".jpg,.jpeg,.jpe,.jfif,.png,.tif,.tiff,.webp,.avif,.heic,.heif,.bmp";

class UnveilDrop extends HTMLElement {
  static observedAttributes = ["small"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = DROP;
    this.area = root.querySelector(".area");
    this.input = root.querySelector("input");
    this.bar = root.querySelector("progress");
    this.list = root.querySelector("ul");
    this.area.addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      this.send([...this.input.files]);
      this.input.value = "";
    });
    // A photo dropped beside the area must not replace the page.
    this.onDrag = (event) => {
      if (!event.dataTransfer?.types.includes("Files") || !this.checkVisibility()) return;
      event.preventDefault();
      this.area.classList.toggle("over", event.type === "dragover");
      if (event.type === "drop") this.send([...event.dataTransfer.files]);
    };
    this.onPaste = (event) => {
      const files = [...(event.clipboardData?.files || [])];
      if (files.length && this.checkVisibility()) this.send(files);
    };
  }

  connectedCallback() {
    for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, this.onDrag);
    document.addEventListener("paste", this.onPaste);
    this.input.accept = KINDS;
    this.input.multiple = this.hasAttribute("many");
    this.describe();
  }

  disconnectedCallback() {
    for (const kind of ["dragover", "dragleave", "drop"]) document.removeEventListener(kind, this.onDrag);
    document.removeEventListener("paste", this.onPaste);
  }

  attributeChangedCallback() {
    this.describe();
  }

  describe() {
    const many = this.hasAttribute("many");
    const small = this.hasAttribute("small");
    const words = many ? ["Drop photos here", "Add photos"] : ["Drop a clean photo here", "Use another photo"];
    this.area.querySelector("strong").textContent = words[small ? 1 : 0];
    this.area.querySelector(".more").textContent = many
      ? `or click to choose, or paste. ${this.getAttribute("kinds")}; 8 or 16 bits.`
      : "or click to choose. Noise, rain and haze are then added here, so that there is a truth to compare with.";
  }

  async send(files) {
    if (!files.length || this.sending) return;
    this.sending = true;
    this.list.textContent = "";
    if (!this.hasAttribute("many")) files = files.slice(0, 1);
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    const keys = [];
    let sent = 0;
    this.bar.hidden = false;
    for (const file of files) {
      try {
        keys.push(await this.post(file, !keys.length, (bytes) => { this.bar.value = (sent + bytes) / total; }));
      } catch (problem) {
        this.complain(problem.message);
      }
      sent += file.size;
      // The first photo shows while the others are on their way.
      if (keys.length === 1) this.tell();
    }
    this.bar.hidden = true;
    this.sending = false;
    if (keys.length > 1) this.tell();
  }

  tell() {
    this.dispatchEvent(new CustomEvent("dropped", { bubbles: true }));
  }

  // XMLHttpRequest, as `fetch` cannot say how much has been sent.
  post(file, choose, onProgress) {
    const most = Number(this.getAttribute("most"));
    if (file.size > most) {
      const [size, limit] = [file.size, most].map((bytes) => `${Math.ceil(bytes / 1e6)} MB`);
      return Promise.reject(new Error(`${file.name}: ${size}, more than the ${limit} this server takes`));
    }
    const query = new URLSearchParams({
      desk: this.getAttribute("desk"), purpose: this.getAttribute("purpose"), name: file.name || "photo",
      choose,
    });
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", new URL(`page/photos?${query}`, document.baseURI));
      request.responseType = "json";
      request.upload.onprogress = (event) => onProgress(event.loaded);
      request.onload = () => {
        if (request.status === 200) return resolve(request.response.key);
        const detail = request.response?.error;
        reject(new Error(typeof detail === "string" ? detail : `${file.name}: the server answered ${request.status}`));
      };
      request.onerror = () => reject(new Error(`${file.name}: the server does not answer; is it still running?`));
      request.send(file);
    });
  }

  complain(text) {
    const line = document.createElement("li");
    const words = document.createElement("span");
    words.textContent = text;
    const away = document.createElement("button");
    away.type = "button";
    away.textContent = "×";
    away.setAttribute("aria-label", "Dismiss");
    away.addEventListener("click", () => line.remove());
    line.append(words, away);
    this.list.append(line);
  }
}

customElements.define("unveil-drop", UnveilDrop);
