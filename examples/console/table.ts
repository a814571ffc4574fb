import Table from 'cli-table3';

/** A column: its heading, and the side its cells are aligned to. */
export interface Column {
  readonly heading: string;
  readonly align?: 'left' | 'right';
}

/** Lays rows of text out as a table for the terminal; each row has one cell a column. */
export function textTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: columns.map((column) => column.heading),
    colAligns: columns.map((column) => column.align ?? 'left'),
    style: { head: [], border: [] },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}
