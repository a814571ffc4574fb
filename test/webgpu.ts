/**
 * WebGPU in Node.js: Dawn, from npm's `webgpu`, on whatever Vulkan finds, or on the SwiftShader that comes with
 * Chromium. To be imported before TensorFlow.js's backend, which looks for WebGPU when it is loaded.
 */
import { existsSync } from 'node:fs';
import { create, globals } from 'webgpu';

const SWIFTSHADER = ['/usr/lib/chromium', '/usr/lib/chromium-browser', '/opt/google/chrome']
  .map((folder) => `${folder}/vk_swiftshader_icd.json`)
  .find((path) => existsSync(path));

if (SWIFTSHADER !== undefined) process.env.VK_ICD_FILENAMES ??= SWIFTSHADER;

const gpu = create([]);
const adapter = await gpu.requestAdapter();

/** Why there is no WebGPU here. */
export const noWebGPU =
  adapter === null ? 'WebGPU finds no GPU here, nor Chromium with libvulkan1' : undefined;

if (noWebGPU === undefined) {
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
}
