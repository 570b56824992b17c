// Where tiles lie and how much each counts, and what those that wait hold, as in unveil.inference.

const up = (length, multiple) => Math.ceil(length / multiple) * multiple;

// Start and end of the tiles along an axis; with `even`, a multiple of that and about equally long.
export function spans(length, tile, overlap, even = 0) {
  let side = tile;
  if (even) {
    const number = Math.ceil(Math.max(length - overlap, 1) / (tile - overlap));
    side = Math.min(up(Math.ceil((length + (number - 1) * overlap) / number), even), tile);
  }
  const found = [];
  for (let start = 0; start < Math.max(length - overlap, 1); start += Math.max(side - overlap, 1)) found.push([start, Math.min(start + side, length)]);
  return found;
}

export function weights([start, end], length, overlap) {
  const out = new Float32Array(end - start).fill(1);
  for (let i = 0; i < overlap; i += 1) {
    const ramp = Math.min(Math.max((2 * (i + 0.5)) / overlap - 0.5, 0), 1);
    if (start > 0) out[i] = ramp;
    if (end < length) out[end - start - overlap + i] = 1 - ramp;
  }
  return out;
}

// Tiles along an axis: where the result of each lies (start, end), what it sees (first, last), and
// what it adds to statistics (from, to). Even tiles are equally long: the last begins earlier.
function axis(length, found, overlap, multiple, even) {
  const [side, whole] = [up(found[0][1], multiple), up(length, multiple)];
  const skip = Math.floor(overlap / multiple / 2) * multiple;
  return found.map(([start, end], i) => {
    const first = even ? Math.max((end === length ? whole : end) - side, 0) : start;
    return {
      start, end, first, last: even ? first + side : end,
      from: i ? start + skip : 0, to: i + 1 < found.length ? found[i + 1][0] + skip : whole, length, whole,
    };
  });
}

// All tiles of an image, row by row.
export function tilesOf(height, width, { tile, overlap, multiple = 1, even = false }) {
  return crossed([height, width].map((length) => axis(length, spans(length, tile, overlap, even ? multiple : 0), overlap, multiple, even)));
}

const crossed = ([rows, columns]) => rows.flatMap((down) => columns.map((across) => ({ down, across })));

const POSITIONS = 120000;
export const PIECE_OVERLAP = 64;

// Pieces that an image's features are refined in: as large as a pass may be, and so that as few
// positions as possible lie in several; see `pieces_of` in unveil.inference.bottleneck.
export function piecesOf(height, width, tile) {
  const share = (length, number) => Math.max(Math.ceil((length + (number - 1) * PIECE_OVERLAP) / number), 2 * PIECE_OVERLAP);
  const most = Math.max(POSITIONS * Math.min(tile / 512, 1) ** 2, (2 * PIECE_OVERLAP) ** 2);
  const [mostDown, mostAcross] = [height, width].map((length) => Math.max(Math.ceil(length / PIECE_OVERLAP) - 1, 1));
  let [least, chosen] = [Infinity, [share(height, 1), share(width, 1)]];
  for (let down = 1; height * width > most && down <= mostDown; down += 1) {
    for (let across = 1; across <= mostAcross; across += 1) {
      const sides = [share(height, down), share(width, across)];
      const area = down * across * sides[0] * sides[1];
      if (sides[0] * sides[1] <= most && area < least) [least, chosen] = [area, sides];
    }
  }
  return crossed([height, width].map((length, i) => axis(length, spans(length, chosen[i], PIECE_OVERLAP, 1), PIECE_OVERLAP, 1)));
}

// Sums up the weighted values of tiles, which come row by row, and passes complete rows to `write`.
export class Blend {
  constructor(width, channels, overlap, write) {
    Object.assign(this, { width, channels, overlap, write, top: 0, strip: new Float32Array(0) });
  }

  // Values are (channels, tall, wide) where `planar`, else (tall, wide, channels).
  add({ down, across }, values, [tall, wide], planar) {
    const { width, channels } = this;
    this.flush(down.start);
    const size = (down.end - down.start) * width * channels;
    if (this.strip.length < size) {
      const grown = new Float32Array(size);
      grown.set(this.strip);
      this.strip = grown;
    }
    const [vertical, horizontal] = [down, across].map(({ start, end, length }) => weights([start, end], length, this.overlap));
    const [step, plane] = planar ? [1, tall * wide] : [channels, 1];
    for (let y = 0; y < vertical.length; y += 1) {
      const line = (down.start - down.first + y) * wide + across.start - across.first;
      for (let x = 0; x < horizontal.length; x += 1) {
        const weight = vertical[y] * horizontal[x];
        const to = channels * (y * width + across.start + x);
        const from = (line + x) * step;
        for (let c = 0; c < channels; c += 1) this.strip[to + c] += weight * values[from + c * plane];
      }
    }
  }

  // Write the rows above `until`, which no other tile adds to.
  flush(until) {
    const size = (until - this.top) * this.width * this.channels;
    if (!size) return;
    this.write(this.top, this.strip.subarray(0, size));
    this.strip = this.strip.slice(size);
    this.top = until;
  }
}

const PREFIX = "unveil-tiles-";

// Return a store of tensors' samples by name: in a file of the browser's own, else in memory.
export async function openStore() {
  const kept = new Map();
  let end = 0;
  const file = await scratchFile().catch(() => null);
  return {
    put(name, { data, dims }) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const known = kept.get(name);
      const at = known?.room >= bytes.length ? known.at : end;
      if (file && written(file, bytes, at)) {
        kept.set(name, { at, dims, size: bytes.length, room: Math.max(known?.room ?? 0, bytes.length) });
        end = Math.max(end, at + bytes.length);
      } else kept.set(name, { bytes, dims });
    },
    get(name) {
      const { at, dims, size, bytes = new Uint8Array(size) } = kept.get(name);
      if (at !== undefined) file.read(bytes, { at });
      return { data: new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), dims };
    },
    async close() {
      file?.close();
      await swept().catch(() => {});
    },
  };
}

function written(file, bytes, at) {
  try {
    return file.write(bytes, { at }) === bytes.length;
  } catch {
    return false; // The disk or what the browser grants is full.
  }
}

async function scratchFile() {
  const folder = await swept();
  const file = await folder.getFileHandle(PREFIX + crypto.randomUUID(), { create: true });
  return file.createSyncAccessHandle();
}

// Remove files that were left behind; one that another page uses cannot be removed.
async function swept() {
  const folder = await navigator.storage.getDirectory();
  for await (const name of folder.keys()) {
    if (name.startsWith(PREFIX)) await folder.removeEntry(name).catch(() => {});
  }
  return folder;
}
