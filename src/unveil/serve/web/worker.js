// Runs the network on tiles with the statistics of their whole image, as unveil.inference does.

import { Blend, PIECE_OVERLAP, openStore, piecesOf, tilesOf } from "./tiles.js";

let ort;
let sessions = {};
let model;
let weightsName;
let base;

const STEPS = 64; // as in local.js
const MOST_PIXELS = 2 ** 20;
const WINDOW = 512;
const CROPS_AT_ONCE = 4;

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
  if (model && model.id !== data.model.id) await releaseAll();
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
  return graph.run(Object.fromEntries(graph.inputNames.map((input) => [input, given(input)])));
}

async function releaseAll() {
  for (const graph of Object.values(sessions)) await graph.release();
  sessions = {};
}

// Rows and columns of an image as (1, 3, h, w) floats.
function planes({ data, width }, rows, columns, out = new Float32Array(3 * rows.length * columns.length), from = 0) {
  const size = rows.length * columns.length;
  let to = from;
  for (const y of rows) {
    for (const x of columns) {
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; c += 1) out[to + c * size] = data[at + c] / 255;
      to += 1;
    }
  }
  return out;
}

const numbers = (first, count, act) => Array.from({ length: count }, (_, i) => act(first + i));

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

// Crops of one pass share every layer's statistics.
async function statistics(image) {
  const { width, height } = image;
  const whole = isWhole(image);
  const side = Math.min(WINDOW, model.tile);
  const parts = crops(height, width, whole ? Math.max(width, height) : side);
  const sides = [parts[0].tall, parts[0].wide].map((side) => Math.ceil(side / model.size_multiple) * model.size_multiple);
  const number = whole ? parts.length : Math.max(Math.floor((CROPS_AT_ONCE * side ** 2) / (sides[0] * sides[1])), 1);
  const batches = Math.ceil(parts.length / number);
  const total = {};
  for (let i = 0; i < batches; i += 1) {
    const some = parts.filter((_, j) => j % batches === i);
    const given = samples(image, some, sides);
    const found = await run("statistics", (input) => given[input]);
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
  const floats = new Float32Array(parts.length * size);
  const places = new Float32Array(parts.length * 4);
  parts.forEach(({ top, left, tall, wide }, i) => {
    // What fills a crop up is its edge, repeated.
    const [down, across] = [numbers(top, rows, (y) => Math.min(y, top + tall - 1)), numbers(left, columns, (x) => Math.min(x, left + wide - 1))];
    planes(image, down, across, floats, i * size);
    places.set([top / image.height, (top + tall) / image.height, left / image.width, (left + wide) / image.width], 4 * i);
  });
  return { image: tensor(floats, parts.length, 3, rows, columns), places: tensor(places, parts.length, 4) };
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
  const write = (top, values) => {
    const from = 3 * top * width;
    for (let i = 0; i < values.length; i += 1) change[from + i] = Math.round(values[i] * 255 * STEPS);
  };
  const { tile, overlap, size_multiple: multiple, stages } = model;
  const whole = isWhole(image);
  const even = !whole && Boolean(stages.encode);
  const tiles = whole ? tilesOf(height, width, { tile: Math.max(width, height), overlap: 0 })
    : tilesOf(height, width, { tile, overlap, multiple, even });
  const blend = new Blend(width, 3, whole ? 0 : overlap, write);
  await (even ? restoreTogether : restoreEach)(image, tiles, blend);
  blend.flush(height);
  return { change, tiles: tiles.length };
}

// Tiles that share the statistics of crops, or the whole image as one tile.
async function restoreEach(image, tiles, blend) {
  const known = model.statistics && tiles.length > 1 ? await statistics(image) : null;
  for (const [i, tile] of tiles.entries()) {
    const given = { ...known, image: pixels(image, tile) };
    const { restored } = await run(known ? "restore" : "whole", (input) => given[input]);
    const change = restored.data.map((value, j) => value - given.image.data[j]);
    blend.add(tile, change, restored.dims.slice(2), true);
    if (tiles.length > 1) report((i + 1) / tiles.length);
  }
}

// unveil.inference.single_pass: tiles wait for each other at layers that look at the whole image.
async function restoreTogether(image, tiles, blend) {
  const multiple = model.size_multiple;
  const [height, width] = [image.height, image.width].map((side) => Math.ceil(side / multiple));
  await releaseAll();
  const store = await openStore();
  const known = {};
  const steps = tiles.length * (model.stages.encode + model.stages.restore) + model.stages.refine;
  let done = 0;
  const shared = { store, known, tick: (share) => report((done += share) / steps) };
  try {
    const features = { height, width };
    await together("encode", tiles, { ...shared, unit: multiple, begin: (tile) => pixels(image, tile),
      end: (tile, result) => gather(features, tile, result) });
    const pieces = piecesOf(height, width, model.tile);
    // In place: pieces come row by row, and those to come lie below what is written.
    const write = (top, values) => features.data.set(values, top * width * features.depth);
    const latent = new Blend(width, features.depth, PIECE_OVERLAP, write);
    await together("refine", pieces, { ...shared, unit: 1, begin: (piece) => region(features, piece, 1),
      end: (piece, { data, dims }) => latent.add(piece, data, dims.slice(1, 3), false) });
    latent.flush(height);
    await together("restore", tiles, { ...shared, unit: multiple, begin: (tile) => region(features, tile, multiple),
      end: (tile, { data, dims }) => blend.add(tile, data, dims.slice(2), true) });
  } finally {
    await store.close();
  }
}

// Pass tiles through the stages of a part of the network, of which one is in memory. At the end of
// a stage all have added to the statistics that the next one takes.
async function together(part, tiles, { unit, store, known, begin, end, tick }) {
  for (let stage = 0; stage < model.stages[part]; stage += 1) {
    const name = `${part}.${stage}`;
    const sums = {};
    for (const [number, tile] of tiles.entries()) {
      const given = { ...known, ...own(tile, unit), ...(stage === 0 && { "held.0": begin(tile) }) };
      const found = await run(name, (input) => given[input] ?? half(store.get(`${input} ${number}`)));
      for (const [output, value] of Object.entries(found)) {
        if (output === "result") end(tile, value);
        else if (output.startsWith("statistic.")) add(sums, output.replace("statistic.", "given."), value);
        else store.put(`${output.replace("next.", "held.")} ${number}`, value);
      }
      tick(part === "refine" ? 1 / tiles.length : 1);
    }
    Object.assign(known, sums);
    await releaseAll();
  }
}

const half = ({ data, dims }) => new ort.Tensor("float16", data, dims);

// What a tile adds to statistics: positions of its latent, and their place in the image.
function own({ down, across }, unit) {
  const positions = ({ first, from, to }) => {
    const count = (to - from) / unit;
    return new ort.Tensor("int64", BigInt64Array.from(numbers((from - first) / unit, count, BigInt)), [count]);
  };
  const place = [down, across].flatMap(({ from, to, whole }) => [from / whole, to / whole]);
  return { rows: positions(down), columns: positions(across), place: tensor(Float32Array.from(place), 1, 4) };
}

function add(sums, name, { data, dims }) {
  const sum = sums[name]?.data ?? new Float32Array(data.length);
  for (let i = 0; i < data.length; i += 1) sum[i] += data[i];
  sums[name] = tensor(sum, ...dims);
}

// What a tile sees; beyond the image's edge, its mirror image.
function pixels(image, { down, across }) {
  const [rows, columns] = [down, across].map(({ first, last, length }) =>
    numbers(first, last - first, (at) => (at < length ? at : Math.max(2 * (length - 1) - at, 0))));
  return tensor(planes(image, rows, columns), 1, 3, rows.length, columns.length);
}

// Put a tile's features among those of the image; what lies near its rim lacks context, and its
// neighbour has it further in.
function gather(features, { down, across }, { data, dims: [, tall, wide, depth] }) {
  const multiple = model.size_multiple;
  features.data ??= new Float32Array(features.height * features.width * depth);
  features.depth = depth;
  const skip = Math.floor(model.overlap / multiple / 2);
  const [top, left] = [down, across].map(({ start, first }) => (start - first) / multiple + (start ? skip : 0));
  for (let y = top; y < tall; y += 1) {
    const row = data.subarray((y * wide + left) * depth, (y + 1) * wide * depth);
    features.data.set(row, ((down.first / multiple + y) * features.width + across.first / multiple + left) * depth);
  }
}

function region({ data, depth, width }, { down, across }, unit) {
  const [top, bottom, left, right] = [down.first, down.last, across.first, across.last].map((side) => side / unit);
  const size = (right - left) * depth;
  const out = new Float32Array((bottom - top) * size);
  for (let y = top; y < bottom; y += 1) {
    const from = (y * width + left) * depth;
    out.set(data.subarray(from, from + size), (y - top) * size);
  }
  return tensor(out, 1, bottom - top, right - left, depth);
}
