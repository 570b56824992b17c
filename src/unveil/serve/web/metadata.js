// EXIF, XMP and colour profiles, copied from JPEG and PNG files into what the browser encodes.

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";
const ICC = "ICC_PROFILE\0";
const PNG_XMP = "XML:com.adobe.xmp\0\0\0\0\0";
// What an encoder says of colours, which the profile that is copied says instead.
const COLOUR_CHUNKS = ["iCCP", "sRGB", "gAMA", "cHRM", "cICP"];
const PART = 65_519;

const text = (bytes) => String.fromCharCode(...bytes);
const bytesOf = (string) => Uint8Array.from(string, (c) => c.charCodeAt(0));
const joined = async (...parts) => new Uint8Array(await new Blob(parts).arrayBuffer());

// Return what a file carries beside its pixels: { exif, xmp, icc }, each bytes or nothing.
export async function carried(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const found = {};
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    const icc = [];
    for (const { marker, data } of segments(bytes)) {
      const starts = (mark) => text(data.subarray(0, mark.length)) === mark;
      if (marker === 0xe1 && starts(EXIF)) found.exif ??= data.slice(EXIF.length);
      if (marker === 0xe1 && starts(XMP)) found.xmp ??= data.slice(XMP.length);
      if (marker === 0xe2 && starts(ICC)) icc[data[ICC.length]] = data.slice(ICC.length + 2);
    }
    if (icc.length) found.icc = await joined(...icc.filter(Boolean));
  } else if (text(bytes.subarray(1, 4)) === "PNG") {
    for (const { kind, data } of chunks(bytes)) {
      if (kind === "eXIf") found.exif = data.slice();
      if (kind === "iCCP") found.icc = await deflated(data.subarray(data.indexOf(0) + 2), DecompressionStream);
      if (kind === "iTXt" && text(data.subarray(0, PNG_XMP.length)) === PNG_XMP) found.xmp = data.slice(PNG_XMP.length);
    }
  }
  if (found.exif) upright(found.exif);
  return found;
}

// Return a JPEG or PNG with what another file carried; a WebP as it is.
export async function withMetadata(blob, kind, { exif, xmp, icc }) {
  if (kind === "webp" || !(exif || xmp || icc)) return blob;
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return new Blob(kind === "jpeg" ? await inJpeg(bytes, exif, xmp, icc) : await inPng(bytes, exif, xmp, icc), { type: blob.type });
}

async function inJpeg(bytes, exif, xmp, icc) {
  const parts = [];
  const add = (marker, mark, ...data) => {
    const length = 2 + mark.length + data.reduce((sum, part) => sum + part.length, 0);
    if (length < 65_536) parts.push(Uint8Array.of(0xff, marker, length >> 8, length & 255), bytesOf(mark), ...data);
  };
  if (exif) add(0xe1, EXIF, exif);
  if (xmp) add(0xe1, XMP, xmp);
  const count = icc ? Math.ceil(icc.length / PART) : 0;
  for (let i = 0; i < count; i += 1) add(0xe2, ICC, Uint8Array.of(i + 1, count), icc.subarray(i * PART, (i + 1) * PART));
  return [bytes.subarray(0, 2), ...parts, bytes.subarray(2)];
}

async function inPng(bytes, exif, xmp, icc) {
  const found = [...chunks(bytes)];
  const kept = icc ? found.filter(({ kind }) => !COLOUR_CHUNKS.includes(kind)) : found;
  const own = [];
  if (icc) own.push(chunk("iCCP", await joined(bytesOf("icc\0\0"), await deflated(icc, CompressionStream))));
  if (exif) own.push(chunk("eXIf", exif));
  if (xmp) own.push(chunk("iTXt", await joined(bytesOf(PNG_XMP), xmp)));
  const whole = kept.map(({ from, to }) => bytes.subarray(from, to));
  return [bytes.subarray(0, 8), whole[0], ...own, ...whole.slice(1)];
}

function* segments(bytes) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    yield { marker: bytes[at + 1], data: bytes.subarray(at + 4, at + 2 + length) };
    at += 2 + Math.max(length, 2);
  }
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const to = at + 12 + view.getUint32(at);
    yield { kind: text(bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, to - 4), from: at, to };
    at = to;
  }
}

function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(bytesOf(kind), 4);
  bytes.set(data, 8);
  let crc = ~0;
  for (const byte of bytes.subarray(4, -4)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  view.setUint32(8 + data.length, ~crc >>> 0);
  return bytes;
}

const deflated = (bytes, Stream) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new Stream("deflate"))).arrayBuffer().then((made) => new Uint8Array(made));

// The pixels are upright: let the block's first directory say so.
function upright(exif) {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.length);
  const little = exif[0] === 0x49;
  if (exif.length < 14) return;
  const start = view.getUint32(4, little);
  if (start + 2 > exif.length) return;
  const count = view.getUint16(start, little);
  for (let i = 0, at = start + 2; i < count && at + 12 <= exif.length; i += 1, at += 12) {
    if (view.getUint16(at, little) === 0x112) view.setUint16(at + 8, 1, little);
  }
}
