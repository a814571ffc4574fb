import { PNG } from 'pngjs';
import { PIXELS } from '../mnist/digits.js';

const SIDE = Math.sqrt(PIXELS);

/**
 * Digits side by side as a PNG file.
 *
 * @param pixels count × 784 bytes, 255 is ink.
 * @param columns Digits in a row.
 */
export function gridPng(pixels: Uint8Array, columns: number): Buffer {
  const count = pixels.length / PIXELS;
  const png = new PNG({ width: columns * SIDE, height: Math.ceil(count / columns) * SIDE });
  for (let i = 0; i < pixels.length; i++) {
    const [digit, pixel] = [Math.floor(i / PIXELS), i % PIXELS];
    const x = (digit % columns) * SIDE + (pixel % SIDE);
    const y = Math.floor(digit / columns) * SIDE + Math.floor(pixel / SIDE);
    png.data.set([pixels[i]!, pixels[i]!, pixels[i]!, 255], 4 * (y * png.width + x));
  }
  return PNG.sync.write(png, { colorType: 0 });
}
