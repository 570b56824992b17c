// Runs the network on tiles with the statistics of their whole image, as unveil.inference does.

let ort;
let sessions = {};
let model;
let weightsName;
let base;

const STEPS = 64; // as in local.js
const LATENT_SIDE = 360;
const LATENT_OVERLAP = 64;
const MOST_PIXELS = 2 ** 20;
const WINDOW = 512;
const TILES_AT_ONCE = 4;

onmessage = async ({ data }) => {
  try {
    await choose(data);
    await load(data.threads);
    const image = { data: data.rgba, width: data.width, height: data.height };
    const result = await (data.kind === "look" ? look(image) : restore(image));
    postMessage({ result }, result.change ? [result.change.buffer] : []);
  } catch (error) {
    postMessage({ error: String(error?.message || error).split("\n")[0].slice(0, 300) });
  }
};

const report = (share, text) => postMessage({ progress: { share, text } });

// One network at a time is in memory.
async function choose(data) {
  if (model && model.id !== data.model.id) {
    for (const graph of Object.values(sessions)) await graph.release();
    sessions = {};
  }
  ({ model, base, weights: weightsName } = data);
}

async function load(threads) {
  if (ort) return;
  report(0, "downloading");
  ort = await import(new URL("vendor/ort.wasm.min.mjs", base));
  ort.env.wasm.wasmPaths = new URL("vendor/", base).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
}

// A graph of the network; all of them share one file of weights.
async function session(name) {
  const address = (file) => new URL(`${model.folder}/${file}`, base).href;
  sessions[name] ??= await ort.InferenceSession.create(address(`${name}.onnx`), {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
    externalData: [{ path: weightsName, data: address(weightsName) }],
  });
  return sessions[name];
}

async function run(name, given) {
  const graph = await session(name);
  const feeds = Object.fromEntries(graph.inputNames.map((input) => [input, given[input] ?? given[input.replace(/^given\./, "")]]));
  return graph.run(feeds);
}

// What a part of the network is given: its layers' statistics, or whether to gather them.
const shared = (known, gather = false) => ({
  ...known,
  gather: new ort.Tensor("bool", Uint8Array.of(gather ? 1 : 0), []),
  places: tensor(Float32Array.of(0, 1, 0, 1), 1, 4),
});

// Grid.spans and Grid.weights of unveil.inference.tiles.
function spans(length, tile, overlap) {
  const found = [];
  for (let start = 0; start < Math.max(length - overlap, 1); start += tile - overlap) found.push([start, Math.min(start + tile, length)]);
  return found;
}

function weights([start, end], length, overlap) {
  const out = new Float32Array(end - start).fill(1);
  for (let i = 0; i < overlap; i += 1) {
    const ramp = Math.min(Math.max((2 * (i + 0.5)) / overlap - 0.5, 0), 1);
    if (start > 0) out[i] = ramp;
    if (end < length) out[end - start - overlap + i] = 1 - ramp;
  }
  return out;
}

// Part of an image as (1, 3, h, w) floats; beyond its edge the edge is repeated.
function planes({ data, width, height }, top, left, rows, columns, out = new Float32Array(3 * rows * columns), from = 0) {
  const size = rows * columns;
  for (let y = 0; y < rows; y += 1) {
    const line = Math.min(top + y, height - 1) * width;
    for (let x = 0; x < columns; x += 1) {
      const at = 4 * (line + Math.min(left + x, width - 1));
      for (let c = 0; c < 3; c += 1) out[from + c * size + y * columns + x] = data[at + c] / 255;
    }
  }
  return out;
}

const tensor = (data, ...shape) => new ort.Tensor("float32", data, shape);

// unveil.inference.statistics.spread_crops: where the statistics of an image are gathered.
function crops(height, width, side) {
  const multiple = model.size_multiple;
  let [down, across] = [Math.ceil(height / side), Math.ceil(width / side)];
  if (height * width > MOST_PIXELS) {
    const number = Math.max(Math.floor(MOST_PIXELS / (Math.min(side, height) * Math.min(side, width))), 1);
    down = Math.min(Math.max(evenly(Math.sqrt((number * height) / width)), 1), number, down);
    across = Math.min(Math.floor(number / down), across);
  }
  const size = (length, count) => Math.min(Math.ceil(Math.ceil(length / count) / multiple) * multiple, side, length);
  const starts = (length, count, extent) => Array.from({ length: count }, (_, i) =>
    Math.min(Math.max(evenly(((i + 0.5) * length) / count - extent / 2), 0), length - extent));
  const [tall, wide] = [size(height, down), size(width, across)];
  return starts(height, down, tall).flatMap((top) => starts(width, across, wide).map((left) => ({ top, left, tall, wide })));
}

// Halves are rounded to even numbers, as Python does.
function evenly(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// As many crops at once as a pass of tiles holds: they share every layer's statistics.
async function statistics(image) {
  const { width, height } = image;
  const whole = isWhole(image);
  const parts = crops(height, width, whole ? Math.max(width, height) : Math.min(WINDOW, model.tile));
  const sides = [parts[0].tall, parts[0].wide].map((side) => Math.ceil(side / model.size_multiple) * model.size_multiple);
  const number = whole ? parts.length : Math.max(Math.floor((TILES_AT_ONCE * model.tile ** 2) / (sides[0] * sides[1])), 1);
  const batches = Math.ceil(parts.length / number);
  const total = {};
  for (let i = 0; i < batches; i += 1) {
    const some = parts.filter((_, j) => j % batches === i);
    const found = await run("statistics", samples(image, some, sides));
    for (const [name, { data, dims }] of Object.entries(found)) {
      total[name] ??= { data: new Float32Array(data.length), dims };
      for (let j = 0; j < data.length; j += 1) total[name].data[j] += (data[j] * some.length) / parts.length;
    }
  }
  return Object.fromEntries(Object.entries(total).map(([name, { data, dims }]) => [name, tensor(data, ...dims)]));
}

const isWhole = ({ width, height }) => width * height <= model.whole_megapixels * 1e6;

function samples(image, parts, [rows, columns]) {
  const size = 3 * rows * columns;
  const pixels = new Float32Array(parts.length * size);
  const places = new Float32Array(parts.length * 4);
  parts.forEach(({ top, left, tall, wide }, i) => {
    const part = { data: cut(image, top, left, tall, wide), width: wide, height: tall };
    planes(part, 0, 0, rows, columns, pixels, i * size);
    places.set([top / image.height, (top + tall) / image.height, left / image.width, (left + wide) / image.width], 4 * i);
  });
  return { image: tensor(pixels, parts.length, 3, rows, columns), places: tensor(places, parts.length, 4) };
}

function cut({ data, width }, top, left, rows, columns) {
  const out = new Uint8ClampedArray(4 * rows * columns);
  for (let y = 0; y < rows; y += 1) {
    const from = 4 * ((top + y) * width + left);
    out.set(data.subarray(from, from + 4 * columns), 4 * y * columns);
  }
  return out;
}

async function look(image) {
  const { scores } = await statistics(image);
  const { causes } = model;
  const probabilities = Object.fromEntries(causes.map((cause, i) => [cause, 1 / (1 + Math.exp(-scores.data[i]))]));
  const verdict = causes.filter((cause) => probabilities[cause] > 0.5);
  const sigma = verdict.includes("noise") ? Math.min(Math.exp(scores.data[causes.length]), 255) : 0;
  return { probabilities, verdict: verdict.length ? verdict : ["clean"], sigma_255: sigma };
}

async function restore(image) {
  const { width, height } = image;
  const change = new Int16Array(3 * width * height);
  report(0, "preparing");
  if (isWhole(image)) {
    const { restored } = await run("whole", { image: tensor(planes(image, 0, 0, height, width), 1, 3, height, width) });
    write(change, 0, height, width, (i, c) => restored.data[c * width * height + i] - image.data[4 * i + c] / 255);
    return { change, tiles: 1 };
  }
  const { tile, overlap } = model;
  const [rows, columns] = [spans(height, tile, overlap), spans(width, tile, overlap)];
  const total = rows.length * columns.length;
  const passes = total * (model.whole_latent ? 1.43 : 1) + (model.statistics ? 2 : 0);
  let done = 0;
  const tick = (some) => report((done += some) / passes);
  const known = model.statistics ? await statistics(image) : {};
  if (model.statistics) tick(1.5);
  const latent = model.whole_latent ? await wholeLatent(image, rows, columns, known, tick) : null;
  let strip = new Float32Array(0);
  for (const [i, [top, bottom]] of rows.entries()) {
    const tall = bottom - top;
    const next = new Float32Array(3 * tall * width);
    next.set(strip);
    const down = weights([top, bottom], height, overlap);
    for (const [left, right] of columns) {
      const wide = right - left;
      let given = { ...known, image: tensor(planes(image, top, left, tall, wide), 1, 3, tall, wide) };
      if (latent) {
        given = { ...given, ...shared(known) };
        Object.assign(given, await run("encode", given));
        given.refined = latentPart(latent, top, bottom, left, right);
      }
      const { restored } = await run(model.statistics ? "restore" : "whole", given);
      const across = weights([left, right], width, overlap);
      for (let y = 0; y < tall; y += 1) {
        for (let x = 0; x < wide; x += 1) {
          const weight = down[y] * across[x];
          const [from, to] = [y * wide + x, 3 * (y * width + left + x)];
          const original = 4 * ((top + y) * width + left + x);
          for (let c = 0; c < 3; c += 1) {
            next[to + c] += weight * (restored.data[c * tall * wide + from] - image.data[original + c] / 255);
          }
        }
      }
      restored.dispose?.();
      tick(1);
    }
    const ready = i + 1 < rows.length ? rows[i + 1][0] - top : tall;
    write(change, top, ready, width, (at, c) => next[3 * at + c]);
    strip = next.slice(3 * ready * width);
  }
  return { change, tiles: total };
}

function write(change, top, rows, width, value) {
  const from = 3 * top * width;
  for (let at = 0; at < rows * width; at += 1) {
    for (let c = 0; c < 3; c += 1) change[from + 3 * at + c] = Math.round(value(at, c) * 255 * STEPS);
  }
}

// unveil.inference.bottleneck: the coarsest level of the whole image, (h, w, f).
async function wholeLatent(image, rows, columns, known, tick) {
  const multiple = model.size_multiple;
  const [tall, wide] = [Math.ceil(image.height / multiple), Math.ceil(image.width / multiple)];
  const skip = Math.floor(Math.floor(model.overlap / multiple) / 2);
  let features = null;
  for (const [top, bottom] of rows) {
    for (const [left, right] of columns) {
      const part = tensor(planes(image, top, left, bottom - top, right - left), 1, 3, bottom - top, right - left);
      const { latent } = await run("encode", { ...shared(known), image: part });
      const [, h, w, depth] = latent.dims;
      features ??= { data: new Float32Array(depth * tall * wide), depth, tall, wide };
      const [dy, dx] = [top ? skip : 0, left ? skip : 0];
      for (let y = dy; y < h; y += 1) {
        const row = latent.data.subarray((y * w + dx) * depth, (y + 1) * w * depth);
        features.data.set(row, ((top / multiple + y) * wide + left / multiple + dx) * depth);
      }
      tick(0.38);
    }
  }
  const { depth, data } = features;
  const side = Math.min(LATENT_SIDE, Math.max(Math.floor((model.tile * LATENT_SIDE) / 512), 2 * LATENT_OVERLAP));
  if (tall <= side && wide <= side) {
    const { refined } = await run("refine", { ...shared(known, true), latent: tensor(data, 1, tall, wide, depth) });
    return { ...features, data: refined.data };
  }
  const out = new Float32Array(data.length);
  for (const down of spans(tall, side, LATENT_OVERLAP)) {
    for (const across of spans(wide, side, LATENT_OVERLAP)) {
      const piece = region(features, ...down, ...across);
      const [h, w] = [down[1] - down[0], across[1] - across[0]];
      const { refined } = await run("refine", { ...shared(known), latent: tensor(piece, 1, h, w, depth) });
      const [wy, wx] = [weights(down, tall, LATENT_OVERLAP), weights(across, wide, LATENT_OVERLAP)];
      for (let y = 0; y < h; y += 1) {
        for (let x = 0; x < w; x += 1) {
          const [to, from] = [((down[0] + y) * wide + across[0] + x) * depth, (y * w + x) * depth];
          for (let f = 0; f < depth; f += 1) out[to + f] += wy[y] * wx[x] * refined.data[from + f];
        }
      }
    }
  }
  return { ...features, data: out };
}

function region({ data, depth, wide }, top, bottom, left, right) {
  const size = (right - left) * depth;
  const out = new Float32Array((bottom - top) * size);
  for (let y = top; y < bottom; y += 1) {
    const from = (y * wide + left) * depth;
    out.set(data.subarray(from, from + size), (y - top) * size);
  }
  return out;
}

function latentPart(latent, top, bottom, left, right) {
  const multiple = model.size_multiple;
  const place = [Math.floor(top / multiple), Math.ceil(bottom / multiple), Math.floor(left / multiple), Math.ceil(right / multiple)];
  return tensor(region(latent, ...place), 1, place[1] - place[0], place[3] - place[2], latent.depth);
}
