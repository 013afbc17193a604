// SPDX-License-Identifier: Apache-2.0
// What differs between two prompts, word by word.

const LONGEST = 2000; // words; the table of a comparison grows with the product of both

function words(text) {
  const pieces = new Intl.Segmenter(undefined, { granularity: "word" }).segment(text);
  return Array.from(pieces, ({ segment }) => segment);
}

/** Returns the lengths of the longest common sequences of the ends of both lists. */
function commonLengths(before, after) {
  const width = after.length + 1;
  const lengths = new Uint16Array((before.length + 1) * width);
  for (let row = before.length - 1; row >= 0; row -= 1) {
    for (let column = after.length - 1; column >= 0; column -= 1) {
      lengths[row * width + column] = before[row] === after[column]
        ? lengths[(row + 1) * width + column + 1] + 1
        : Math.max(lengths[(row + 1) * width + column], lengths[row * width + column + 1]);
    }
  }
  return (row, column) => lengths[row * width + column];
}

/** Returns the parts of both texts in order, each with `kind` ("same", "removed" or "added") and `text`. */
export function difference(before, after) {
  const [old, now] = [words(before).slice(0, LONGEST), words(after).slice(0, LONGEST)];
  const common = commonLengths(old, now);
  const parts = [];
  const add = (kind, text) => {
    if (parts.at(-1)?.kind === kind) parts.at(-1).text += text;
    else parts.push({ kind, text });
  };
  let [row, column] = [0, 0];
  while (row < old.length || column < now.length) {
    if (row < old.length && column < now.length && old[row] === now[column]) {
      add("same", old[row]);
      row += 1;
      column += 1;
    } else if (column >= now.length || (row < old.length && common(row + 1, column) >= common(row, column + 1))) {
      add("removed", old[row]);
      row += 1;
    } else {
      add("added", now[column]);
      column += 1;
    }
  }
  return parts;
}
