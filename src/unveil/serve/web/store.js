// The list of photos, kept in this browser so that it survives a reload.

import { canvasOf } from "./canvas.js";
import { createStore, del, entries, set } from "./vendor/idb-keyval.js";

const store = createStore("unveil", "photos");
let failed = false;

// A private window or a full disk: the page works, and the list ends with it.
async function tried(action) {
  if (failed) return undefined;
  try {
    return await action();
  } catch (error) {
    failed = true;
    console.warn("photos are not kept:", error.message);
    return undefined;
  }
}

// What is kept of a photo: enough to show it, restore it again, or find its result.
export const keep = (photo) =>
  tried(async () => {
    const { id, order, name, file, thumb, size, options, seen, saved, asked, ran, error } = photo;
    const mask = photo.mask ? await photo.mask.convertToBlob() : null;
    await set(id, { id, order, name, file, thumb, size, options, seen, saved, asked, ran, error, mask }, store);
  });

export const forget = (photo) => tried(() => del(photo.id, store));

export async function kept() {
  const found = (await tried(() => entries(store))) || [];
  const photos = found.map(([, photo]) => photo).sort((a, b) => a.order - b.order);
  for (const photo of photos) photo.mask &&= canvasOf(await createImageBitmap(photo.mask));
  return photos;
}
