// The command line that does to a file what the page did to a photo.

// Quote a word for a POSIX shell.
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

export function command(name, options) {
  const words = ["unveil", "restore", name.startsWith("-") ? `./${name}` : name];
  const { model, task, strength, luma, chroma, ensemble, format, quality } = options;
  if (model) words.push("--model", model);
  if (task && task !== "auto") words.push("--task", task);
  if (strength !== 1) words.push("--strength", String(strength));
  if (luma !== null && luma !== strength) words.push("--strength-luma", String(luma));
  if (chroma !== null && chroma !== strength) words.push("--strength-chroma", String(chroma));
  if (ensemble) words.push("--ensemble");
  if (format) words.push("--format", format);
  if (quality) words.push("--quality", String(quality));
  return words.map(quoted).join(" ");
}

export const shares = ({ strength, luma, chroma }) => [luma ?? strength, chroma ?? strength];
