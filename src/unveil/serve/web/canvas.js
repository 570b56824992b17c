// Return a canvas that `picture` fills, over the colour `ground` where one is given.
export function canvasOf(picture, { width = picture.width, height = picture.height, ground = null } = {}) {
  const canvas = new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (ground) {
    context.fillStyle = ground;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}
