import * as tf from '@tensorflow/tfjs-core';
import { normalValues, type Random, seededRandom, seedOf } from '../training/random.js';
import type { Task } from '../training/task.js';
import { Variables } from '../training/variables.js';
import { endDistribution, type Hypergrid, hypergrid, modesFound, totalVariation } from './hypergrid.js';

/** The grid, the network, and how it learns. */
export interface GridTaskOptions {
  readonly dimensions: number;
  readonly side: number;
  /** Reward of a place that lies in no region. */
  readonly baseReward: number;
  /** Units of each of the two hidden layers. */
  readonly hidden: number;
  /** Walks in a step. */
  readonly batchSize: number;
  /** Probability of an action at random while walks are drawn for training. */
  readonly exploration: number;
  /** Of weights and walks. */
  readonly seed: number;
}

/** Walks of one step, all cut or padded to one length. */
export interface Walks {
  readonly count: number;
  /** Actions of the longest walk. */
  readonly length: number;
  /** Coordinates of the place of each action, one-hot: count·length × (dimensions·side). */
  readonly places: Float32Array;
  /** The action taken there, one-hot; all 0 behind the end of a walk: count·length × actions. */
  readonly taken: Float32Array;
  /** 0 where an action is possible, else −1e9: count·length × actions. */
  readonly impossible: Float32Array;
  /** ln R of the end of a walk + Σ ln P_B of its steps. */
  readonly goals: Float32Array;
}

/** Learning to end walks in proportion to rewards. */
export interface GridTask extends Task<Walks> {
  readonly grid: Hypergrid;
  /** The exact distribution of the ends of walks under the policy as it is. */
  distribution(): Float64Array;
}

/**
 * What the logarithm of the partition function is made of: this factor times a variable. It has to move by several
 * units while weights move by tenths; a variable of its own scale gets there with one learning rate for all (the usual
 * remedy is a rate of its own, 10 to 100 times higher, which TensorFlow.js's optimizers do not have).
 */
const PARTITION_SCALE = 10;

/** Adds one-hot coordinates of a place to a row. */
function writePlace(grid: Hypergrid, place: number, into: Float32Array, row: number): void {
  const width = grid.dimensions * grid.side;
  for (const [axis, x] of grid.coordinates(place).entries()) into[row * width + axis * grid.side + x] = 1;
}

/** Writes −1e9 for the actions that a place does not have. */
function writeImpossible(grid: Hypergrid, place: number, into: Float32Array, row: number): void {
  // The last action, ending, is possible everywhere.
  for (let action = 0; action < grid.dimensions; action++) {
    if (grid.next(place, action) === undefined) into[row * grid.actions + action] = -1e9;
  }
}

/** Draws an action from a policy's row, or now and then any that is possible. */
function drawAction(
  grid: Hypergrid,
  place: number,
  policy: Float32Array,
  exploration: number,
  random: Random,
) {
  const explores = random() < exploration;
  const from = place * grid.actions;
  const weightOf = (action: number) =>
    explores
      ? Number(action === grid.dimensions || grid.next(place, action) !== undefined)
      : policy[from + action]!;
  let total = 0;
  for (let action = 0; action < grid.actions; action++) total += weightOf(action);
  let left = random() * total;
  for (let action = 0; action < grid.dimensions; action++) {
    left -= weightOf(action);
    if (left < 0) return action;
  }
  return grid.dimensions;
}

/**
 * A GFlowNet on the hypergrid with the trajectory-balance loss of Malkin et al. (NeurIPS 2022, equation 14):
 * (ln Z + Σ ln P_F − ln R − Σ ln P_B)², averaged over walks. P_F is a perceptron of two hidden layers over one-hot
 * coordinates, P_B is uniform over the places that one can have come from. The figures of `evaluate` are exact: the
 * distribution of ends is added up over the whole grid.
 */
export function gridTask(options: GridTaskOptions): GridTask {
  const { dimensions, side, baseReward, hidden, batchSize, exploration, seed } = options;
  const grid = hypergrid(dimensions, side, baseReward);
  const width = dimensions * side;
  const random = seededRandom(seedOf(seed, 0));
  const variables = new Variables();
  // He et al. 2015: what a relu takes away is made up for.
  const layer = (inputs: number, units: number, gain: number) => ({
    weights: variables.add(normalValues(inputs * units, Math.sqrt(gain / inputs), random), [inputs, units]),
    bias: variables.add(new Float32Array(units), [units]),
  });
  // Of one-hot coordinates, `dimensions` are 1.
  const first = layer(width, hidden, (2 * width) / dimensions);
  const second = layer(hidden, hidden, 2);
  const scores = layer(hidden, grid.actions, 0.01);
  const partition = variables.add(new Float32Array(1), []);

  /** ln P_F of every action, rows × actions; impossible ones far below 0. */
  const logPolicy = (places: Float32Array, impossible: Float32Array, rows: number): tf.Tensor2D => {
    const apply = (x: tf.Tensor2D, { weights, bias }: typeof first): tf.Tensor2D =>
      tf.add(tf.matMul(x, weights as unknown as tf.Tensor2D), bias);
    const seen = tf.relu(apply(tf.tensor2d(places, [rows, width]), first));
    const logits = apply(tf.relu(apply(seen, second)), scores);
    return tf.logSoftmax(tf.add(logits, tf.tensor2d(impossible, [rows, grid.actions]))) as tf.Tensor2D;
  };

  const allPlaces = new Float32Array(grid.places * width);
  const allImpossible = new Float32Array(grid.places * grid.actions);
  for (let place = 0; place < grid.places; place++) {
    writePlace(grid, place, allPlaces, place);
    writeImpossible(grid, place, allImpossible, place);
  }
  /** Probabilities of all actions at all places. */
  const policy = (): Float32Array =>
    tf.tidy(() => tf.exp(logPolicy(allPlaces, allImpossible, grid.places)).dataSync<'float32'>());

  const batch = (step: number): Walks => {
    const random = seededRandom(seedOf(seed, 1, step));
    const current = policy();
    const walks = Array.from({ length: batchSize }, () => {
      const visited = [0];
      const actions: number[] = [];
      while (true) {
        const place = visited.at(-1)!;
        const action = drawAction(grid, place, current, exploration, random);
        actions.push(action);
        if (action === grid.dimensions) return { visited, actions };
        visited.push(grid.next(place, action)!);
      }
    });
    const length = Math.max(...walks.map(({ actions }) => actions.length));
    const rows = batchSize * length;
    const found: Walks = {
      count: batchSize,
      length,
      places: new Float32Array(rows * width),
      taken: new Float32Array(rows * grid.actions),
      impossible: new Float32Array(rows * grid.actions),
      goals: new Float32Array(batchSize),
    };
    for (const [walk, { visited, actions }] of walks.entries()) {
      let backward = 0;
      for (const [k, place] of visited.entries()) {
        const row = walk * length + k;
        writePlace(grid, place, found.places, row);
        writeImpossible(grid, place, found.impossible, row);
        found.taken[row * grid.actions + actions[k]!] = 1;
        if (k > 0) backward -= Math.log(grid.parents(place));
      }
      found.goals[walk] = Math.log(grid.rewards[visited.at(-1)!]!) + backward;
    }
    return found;
  };

  const distribution = () => endDistribution(grid, policy());
  const task: GridTask = {
    grid,
    variables: variables.all,
    batch,
    loss: ({ count, length, places, taken, impossible, goals }) => {
      const logs = logPolicy(places, impossible, count * length);
      const chosen = tf.mul(logs, tf.tensor2d(taken, [count * length, grid.actions]));
      const forward = tf.sum(tf.reshape(chosen, [count, length * grid.actions]), 1);
      const balance = tf.sub(tf.add(forward, tf.mul(partition, PARTITION_SCALE)), tf.tensor1d(goals));
      return tf.mean(tf.square(balance)) as tf.Scalar;
    },
    evaluate: () => {
      const ends = distribution();
      // The trajectory-balance loss on walks of its own that are never trained on.
      const loss = tf.tidy(() => task.loss(batch(2 ** 31)).dataSync()[0]!);
      return {
        loss,
        distance: totalVariation(ends, grid.probabilities),
        modes: modesFound(grid, ends),
      };
    },
    distribution,
    dispose: () => variables.dispose(),
  };
  return task;
}
