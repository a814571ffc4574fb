/**
 * A table of Markdown, its columns padded to one width.
 *
 * @param right which columns are aligned to the right.
 */
export function markdownTable(
  head: readonly string[],
  right: readonly boolean[],
  rows: readonly (readonly string[])[],
): string {
  const widths = head.map((title, i) => Math.max(4, title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) => (right[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

/**
 * A document with its generated part replaced.
 *
 * @param block the new part, from the first marker to the last.
 * @throws Error if the markers are not there, once each and in order.
 */
export function replaceBlock(
  document: string,
  block: string,
  markers: { readonly start: string; readonly end: string },
  name: string,
): string {
  const start = document.indexOf(markers.start);
  const end = document.indexOf(markers.end);
  if (start < 0 || end < start || document.indexOf(markers.start, start + 1) >= 0) {
    throw new Error(`${name} needs ${markers.start} and ${markers.end}, once each and in this order`);
  }
  return document.slice(0, start) + block + document.slice(end + markers.end.length);
}
