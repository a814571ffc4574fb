import Table from 'cli-table3';

/** A column: its heading, and the side its cells are aligned to. */
export interface Column {
  readonly heading: string;
  readonly align?: 'left' | 'right';
}

/** No frame: two spaces between columns and a line under the headings, so that wide tables fit. */
const OPEN = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '─',
  'mid-mid': '──',
  right: '',
  'right-mid': '',
  middle: '  ',
} as const;

/** Lays rows of text out as a table for the terminal; each row has one cell a column. */
export function textTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: columns.map((column) => column.heading),
    colAligns: columns.map((column) => column.align ?? 'left'),
    chars: OPEN,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}
