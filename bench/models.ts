/** The shape of each trainable tensor of a model. */
export type Shapes = readonly (readonly number[])[];

/** A fully connected layer: weights and biases. */
const dense = (inputs: number, outputs: number): Shapes => [[inputs, outputs], [outputs]];

/** A convolution with square filters. */
const filters = (size: number, inputs: number, outputs: number): Shapes => [[size, size, inputs, outputs]];

/** What normalization learns: scale and offset. */
const normalization = (channels: number): Shapes => [[channels], [channels]];

/** The network of examples/mnist: 784-256-10. */
export function mnistMlp(): Shapes {
  return [...dense(784, 256), ...dense(256, 10)];
}

/** A convolutional network for CIFAR-10 as in Keras's example `cifar10_cnn`: four convolutions, two dense layers. */
export function cifarCnn(): Shapes {
  const convolution = (inputs: number, outputs: number) => [...filters(3, inputs, outputs), [outputs]];
  return [
    ...convolution(3, 32),
    ...convolution(32, 32),
    ...convolution(32, 64),
    ...convolution(64, 64),
    ...dense(6 * 6 * 64, 512),
    ...dense(512, 10),
  ];
}

/** ResNet-50 for ImageNet (arXiv 1512.03385, table 1): stages of 3, 4, 6 and 3 bottleneck blocks. */
export function resnet50(): Shapes {
  const convolution = (size: number, inputs: number, outputs: number) => [
    ...filters(size, inputs, outputs),
    ...normalization(outputs),
  ];
  const shapes = convolution(7, 3, 64);
  let channels = 64;
  for (const [stage, blocks] of [3, 4, 6, 3].entries()) {
    const width = 64 * 2 ** stage;
    for (let block = 0; block < blocks; block++) {
      shapes.push(
        ...convolution(1, channels, width),
        ...convolution(3, width, width),
        ...convolution(1, width, 4 * width),
      );
      // The shortcut of a stage's first block changes the number of channels.
      if (block === 0) shapes.push(...convolution(1, channels, 4 * width));
      channels = 4 * width;
    }
  }
  return [...shapes, ...dense(channels, 1000)];
}

/** GPT-2 with 124 M parameters: 12 blocks, width 768, the output layer tied to the embedding. */
export function gpt2(): Shapes {
  const width = 768;
  const block = [
    ...normalization(width),
    ...dense(width, 3 * width),
    ...dense(width, width),
    ...normalization(width),
    ...dense(width, 4 * width),
    ...dense(4 * width, width),
  ];
  return [
    [50257, width],
    [1024, width],
    ...Array.from({ length: 12 }, () => block).flat(),
    ...normalization(width),
  ];
}

/** A model of `total` parameters in `tensors` tensors of the same size, as nearly as that goes. */
export function evenly(total: number, tensors: number): Shapes {
  return Array.from({ length: tensors }, (_, i) => [
    Math.floor(((i + 1) * total) / tensors) - Math.floor((i * total) / tensors),
  ]);
}

/** A model of `total` parameters in `tensors` tensors whose sizes lie up to 10,000 times apart. */
export function mixed(total: number, tensors: number): Shapes {
  const weights = Array.from({ length: tensors }, (_, i) => (1 + ((i * 37) % 100)) ** 2);
  const sum = weights.reduce((a, b) => a + b);
  const sizes = weights.map((weight) => Math.floor((total * weight) / sum));
  sizes[0]! += total - sizes.reduce((a, b) => a + b);
  return sizes.map((size) => [size]);
}

/** Number of elements of a shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}
