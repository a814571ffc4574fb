import { Tensor, engine as tensorflow, type Variable } from '@tensorflow/tfjs-core';
import { invalid, VRAdamError } from '../errors.js';
import { isRecord } from '../options/options.js';
import { sameShape } from '../state/saved-state.js';

/** A variable named in a step, and its gradient, null where it is left alone. */
export interface Given {
  readonly variable: Variable;
  readonly gradient: Tensor | null;
}

/**
 * Checks everything about the gradients of a step that can be checked without reading them.
 *
 * @param variableGradients Gradients by variable name, or a list of { name, tensor }.
 * @throws ERR_VRADAM_SHAPE for a name that no variable has or that comes twice, and for what is no gradient of its
 *   variable.
 */
export function readGradients(variableGradients: unknown): Given[] {
  // A Map or typed array has no names of its own, and would pass for a step without gradients.
  const isMap = isRecord(variableGradients) && !(variableGradients instanceof Tensor);
  if (!Array.isArray(variableGradients) && !isMap) {
    throw invalid(
      'ERR_VRADAM_SHAPE',
      'variableGradients',
      'a map from name to gradient or a list of { name, tensor }',
      variableGradients,
    );
  }
  const entries: [name: unknown, gradient: unknown][] = Array.isArray(variableGradients)
    ? variableGradients.map((entry, i) => {
        if (typeof entry !== 'object' || entry === null) {
          throw invalid('ERR_VRADAM_SHAPE', `variableGradients[${i}]`, 'an object { name, tensor }', entry);
        }
        return [entry.name, entry.tensor];
      })
    : Object.keys(variableGradients).map((name) => [name, variableGradients[name]]);

  const registered = tensorflow().registeredVariables;
  // A map has each name once.
  const seen = Array.isArray(variableGradients) ? new Set<unknown>() : undefined;
  const given: Given[] = [];
  for (const [name, value] of entries) {
    const variable =
      typeof name === 'string' && Object.hasOwn(registered, name) ? registered[name] : undefined;
    if (variable === undefined) {
      throw invalid(
        'ERR_VRADAM_SHAPE',
        'the name of a gradient',
        'the name of a variable that is not disposed',
        name,
      );
    }
    if (seen?.has(name)) {
      throw invalid('ERR_VRADAM_SHAPE', 'the names of the gradients', 'each name once', name);
    }
    seen?.add(name);
    const gradient = readGradient(value, variable);
    // A variable that could never be stepped over has no state either.
    if (gradient !== null || variable.dtype === 'float32') given.push({ variable, gradient });
  }
  return given;
}

function readGradient(value: unknown, variable: Variable): Tensor | null {
  if (value === null || value === undefined) return null;
  if (!(value instanceof Tensor)) {
    const of = `the gradient of '${variable.name}'`;
    throw invalid('ERR_VRADAM_SHAPE', of, 'a tensor, null or undefined', value);
  }
  if (value.isDisposed) throw mismatch(variable, 'a tensor', 'one that is disposed');
  if (variable.dtype !== 'float32') {
    throw new VRAdamError(
      'ERR_VRADAM_SHAPE',
      `The variable '${variable.name}' is ${variable.dtype}; only float32 can be trained`,
    );
  }
  if (value.dtype !== 'float32')
    throw mismatch(variable, 'a tensor of type float32', `one of type ${value.dtype}`);
  if (!sameShape(value.shape, variable.shape)) {
    throw mismatch(variable, `a tensor of shape [${variable.shape}]`, `one of shape [${value.shape}]`);
  }
  return value;
}

function mismatch({ name }: Variable, expected: string, received: string): VRAdamError {
  return new VRAdamError(
    'ERR_VRADAM_SHAPE',
    `Expected ${expected} for the gradient of '${name}' but received ${received}`,
  );
}
