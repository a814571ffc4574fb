import {
  dispose,
  getBackend,
  type NamedTensorMap,
  Optimizer,
  type Scalar,
  type serialization,
  type Tensor,
  tensor,
  engine as tensorflow,
  tidy,
  type Variable,
} from '@tensorflow/tfjs-core';
import { hasDevice } from '../device/select.js';
import type { TensorState } from '../engines/engine.js';
import { stateArraysOf } from '../engines/rules.js';
import {
  type OptimizerKind,
  type ResolvedOptions,
  resolveOptions,
  type Schedule,
} from '../options/options.js';
import { argumentsOf, configOf } from '../state/saved-config.js';
import {
  bindStates,
  checkFit,
  copyOf,
  findStates,
  type NamedShape,
  type SavedState,
  type SavedTensor,
  sameShape,
} from '../state/saved-state.js';
import { type NamedTensor, readWeights, WeightTensors } from '../state/saved-weights.js';
import type { StepReport } from '../step/report.js';
import { engineSettings } from '../step/stepper.js';
import { noAverages, stillSwapped } from './averages.js';
import { DeviceSteps } from './device-steps.js';
import { readGradients } from './gradients.js';
import { type OptimizerSummary, showSummary, summaryOf } from './summary.js';
import type { VariableSteps } from './variable-steps.js';

/**
 * The contract of `tf.Optimizer`: which variables belong to the optimizer, what it accepts as gradients, what it
 * saves and restores. How steps are made is left to `VariableSteps`.
 */
export abstract class TensorFlowOptimizer extends Optimizer {
  #steps: VariableSteps;
  readonly #options: ResolvedOptions;
  readonly #mayGoOnDevice: boolean;
  /** What the arrays of a variable's state are called. */
  protected readonly stateArrays: readonly string[];
  readonly #weights = new WeightTensors();
  /** By tensor number. State belongs to the variable itself, not to its name. */
  readonly #variables: Variable[] = [];
  readonly #numbers = new Map<string, number>();
  /** States that were set and wait for their variables: all of them before the first step, later those of frozen layers. */
  #waiting: readonly SavedTensor[] = [];
  #groupsAreChecked = false;
  /** Variables that began with the values of rank 0. */
  readonly #shared = new WeakSet<Variable>();
  #isDisposed = false;
  #areSwapped = false;

  /**
   * @param makeSteps from the options, complete and checked.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range,
   *   and whatever `makeSteps` throws.
   */
  constructor(
    learningRate: number | Schedule | undefined,
    options: object | undefined,
    kind: OptimizerKind,
    makeSteps: (options: ResolvedOptions) => VariableSteps,
  ) {
    super();
    this.#options = resolveOptions(learningRate, options, kind);
    const settings = engineSettings(this.#options);
    this.stateArrays = stateArraysOf(settings);
    // Ranks of a group exchange what the host has.
    this.#mayGoOnDevice = this.#options.engine === 'auto' && this.#options.group === undefined;
    this.#steps = makeSteps(this.#options);
  }

  protected get steps(): VariableSteps {
    return this.#steps;
  }

  /** As given, with the learning rates as they are now. */
  protected get options(): ResolvedOptions {
    return { ...this.#options, groups: this.steps.groups.all };
  }

  /** Learning rate α₀ of the default group at the next step, before the penalty lowers it. */
  get learningRate(): number {
    return this.steps.groups.defaultLearningRateAt(this.iterations);
  }

  set learningRate(rate: number | Schedule) {
    this.setLearningRate(rate);
  }

  /**
   * Sets the learning rate of every group that did not name its own, from the next step on.
   *
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` unless it is a finite number ≥ 0 or a function;
   *   `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  setLearningRate(rate: number | Schedule): void {
    this.steps.groups.setLearningRate(rate);
  }

  /** What the last step did, refused ones too; undefined before the first. */
  get lastStep(): StepReport | undefined {
    return this.steps.lastStep;
  }

  /** The same, waited for where steps are asynchronous and the last one has not been reported yet. */
  async readLastStep(): Promise<StepReport | undefined> {
    return this.steps.readLastStep ? this.steps.readLastStep() : this.lastStep;
  }

  /** Attempted steps, refused ones too. */
  override get iterations(): number {
    return this.steps.iterations;
  }

  /** Steps that were refused for their gradients with `onNonFinite: 'skip'`. */
  get skippedSteps(): number {
    return this.steps.skippedSteps;
  }

  /**
   * Runs `f`, and steps down the gradient of its value.
   *
   * @param f gives a scalar loss.
   * @param returnCost whether to return the loss, which the caller then disposes.
   * @param varList the variables to update; those that are not trainable are left alone. Default: all trainable ones.
   * @throws VRAdamError what `applyGradients` throws; nothing that this step made is then left behind.
   */
  override minimize(f: () => Scalar, returnCost = false, varList?: Variable[]): Scalar | null {
    this.steps.gate.assertIdle();
    this.#share(
      varList ?? Object.values(tensorflow().registeredVariables).filter(({ trainable }) => trainable),
    );
    const { value, grads } = this.computeGradients(f, varList);
    let returned = false;
    try {
      // A layer that two wrappers share comes twice in a model's list of weights; its gradient is one.
      const variables = varList && [...new Set(varList)];
      this.applyGradients(variables ? variables.map(({ name }) => ({ name, tensor: grads[name]! })) : grads);
      returned = returnCost;
      return returnCost ? value : null;
    } finally {
      dispose(grads);
      if (!returned) value.dispose();
    }
  }

  /**
   * One step over all variables named. A variable whose gradient is missing (null or undefined) is left alone.
   *
   * @param variableGradients gradients by variable name, or a list of { name, tensor }; each float32 and of its
   *   variable's shape.
   * @throws VRAdamError before anything changes: `ERR_VRADAM_SHAPE` for a name that no variable has or that comes
   *   twice, and for another type or shape; `ERR_VRADAM_HYPERPARAMETER` for a group that matches no variable and a
   *   schedule that gives no learning rate; `ERR_VRADAM_CHECKPOINT` where the state that was loaded does not fit the
   *   variables; `ERR_VRADAM_NON_FINITE` for a gradient that is not finite; `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  applyGradients(variableGradients: NamedTensorMap | NamedTensor[]): void {
    this.assertNotSwapped();
    const given = readGradients(variableGradients);
    if (!this.#groupsAreChecked) {
      // Another step may bring variables that this one lacks.
      const own = given.map(({ variable }) => variable.name);
      this.steps.groups.check(Object.keys(tensorflow().registeredVariables), own);
    }
    this.forgetDisposed();
    if (this.#mayGoOnDevice && hasDevice(getBackend())) this.#goOnDevice();
    const fresh = given.map(({ variable }) => variable).filter(({ name }) => !this.#numbers.has(name));
    const states = this.#statesFor(fresh);
    this.#share(given.map(({ variable }) => variable));

    this.#groupsAreChecked = true;
    for (const { variable, state } of states) this.#register(variable, state);
    const gradients: (Tensor | null)[] = this.#variables.map(() => null);
    for (const { variable, gradient } of given) gradients[this.#numbers.get(variable.name)!] = gradient;
    try {
      this.steps.step(this.#variables, gradients);
    } finally {
      this.iterations_ = this.steps.iterations;
    }
  }

  /**
   * The state: `iter` (int32 scalar, attempted steps), of each state array every variable's, of Adam every
   * `<name>/velocity` and then every `<name>/second_moment` (float32, the variable's shape, in order of first use),
   * `tensor_steps` (int32, each variable's step count).
   *
   * The tensors belong to the optimizer: do not dispose them. The next call brings the same tensors up to date, and
   * `dispose` frees them.
   *
   * @throws VRAdamError `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  override async getWeights(): Promise<NamedTensor[]> {
    this.assertNotSwapped();
    this.forgetDisposed();
    const { iterations } = this;
    const named = [...this.#variables, ...this.#waiting].map(({ name, shape }) => ({ name, shape }));
    const read = await Promise.all([
      ...this.#variables.map((_, i) => this.steps.engine.readTensor(i)),
      ...this.#waiting.map(copyOf),
    ]);
    this.steps.gate.assertIdle();
    const tensors = named.map(({ name, shape }, i) => ({ name, shape, ...read[i]! }));
    return this.#weights.update({ iterations, tensors }, this.stateArrays);
  }

  /**
   * Takes a state that `getWeights` gave. Variables find their states by name where each finds one, else by order.
   * Before the first step no variable is known: the state then waits for that step's variables. What is over waits for
   * variables that take part later, and `getWeights` gives it back.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT`, with nothing changed, where the list is not complete, is no state, or
   *   a variable finds no state of its shape; `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  override async setWeights(weightValues: NamedTensor[]): Promise<void> {
    this.steps.gate.assertIdle();
    this.restore(await readWeights(weightValues, this.stateArrays));
  }

  /** Calls since the last step, whose gradients wait for others: see `accumulateSteps`. */
  get accumulatedSteps(): number {
    return this.steps.accumulatedSteps ?? 0;
  }

  /**
   * Exchanges the variables that have made a step with their averages (option `averaging`), for evaluating or saving a
   * model; the second call brings them back. Until then there are no steps, and no state is saved or set.
   *
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` without `averaging`; `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  swapAverages(): void {
    this.steps.gate.assertIdle();
    if (this.#options.averaging === undefined) throw noAverages();
    this.forgetDisposed();
    this.steps.swapAverages(this.#variables);
    this.#areSwapped = !this.#areSwapped;
  }

  /** @throws VRAdamError `ERR_VRADAM_ENGINE` where the averages are swapped in; what `assertIdle` throws. */
  protected assertNotSwapped(): void {
    this.steps.gate.assertIdle();
    if (this.#areSwapped) throw stillSwapped();
  }

  /**
   * Hyperparameters and options as JSON-safe data, from which `fromConfig` makes the same optimizer without its state.
   *
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER`, naming it, where a group's match or a learning rate is a
   *   function of the user's own.
   */
  override getConfig(): serialization.ConfigDict {
    return configOf(this.options);
  }

  /**
   * Makes an optimizer from what `getConfig` gave, also after a passage through `model.save`.
   *
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` where the configuration cannot be read.
   */
  static override fromConfig<T extends serialization.Serializable>(
    cls: serialization.SerializableConstructor<T>,
    config: serialization.ConfigDict,
  ): T {
    return new cls(...argumentsOf(config));
  }

  /** What the optimizer is and how far it came, for logs; the state is not in it. */
  toJSON(): OptimizerSummary {
    return summaryOf(this.steps, this.options, 'getWeights');
  }

  /** Frees the state and the tensors that `getWeights` handed out. May be called again; nothing else may. */
  override dispose(): void {
    if (this.#isDisposed) return;
    this.steps.gate.dispose();
    this.#weights.dispose();
    this.#variables.length = 0;
    this.#numbers.clear();
    this.#waiting = [];
    this.#isDisposed = true;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * Replaces the state by one that was saved, or lets it wait for the first step's variables.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT`, with nothing changed, where it does not fit; `ERR_VRADAM_DISPOSED`
   *   after `dispose`.
   */
  protected restore({ iterations, tensors }: SavedState): void {
    // Steps may have been taken, and the optimizer disposed, while the values were read.
    this.assertNotSwapped();
    this.forgetDisposed();
    const { own, over } = this.bind(tensors);
    this.steps.forgetAccumulated?.();
    for (const [i, state] of own.entries()) this.steps.engine.writeTensor(i, state);
    this.#waiting = over;
    this.steps.iterations = iterations;
    this.iterations_ = iterations;
  }

  /** By number of their tensors. */
  protected get variables(): readonly Variable[] {
    return this.#variables;
  }

  /** States that wait for their variables. */
  protected get waiting(): readonly SavedTensor[] {
    return this.#waiting;
  }

  /**
   * The states of the variables that are known, and those that are over.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where they do not fit.
   */
  protected bind<Saved extends NamedShape>(
    saved: readonly Saved[],
  ): { own: Saved[]; over: readonly Saved[] } {
    // Weights of a rule without state name no tensors.
    const isNone = saved.length === 0 && this.stateArrays.length === 0;
    if (isNone || this.#variables.length === 0) return { own: [], over: saved };
    return bindStates(saved, this.#variables);
  }

  /** Lets go of variables that were disposed, and frees their state. Another variable of that name begins anew. */
  protected forgetDisposed(): void {
    // `tf.disposeVariables` takes variables out of the registry, and does not tell them.
    const { registeredVariables: registered } = tensorflow();
    for (let number = this.#variables.length - 1; number >= 0; number--) {
      const variable = this.#variables[number]!;
      if (registered[variable.name] === variable) continue;
      this.steps.unregister(number);
      this.#variables.splice(number, 1);
    }
    if (this.#variables.length === this.#numbers.size) return;
    // What waits belongs to the same model.
    if (this.#variables.length === 0) this.#waiting = [];
    this.#numbers.clear();
    for (const [number, { name }] of this.#variables.entries()) this.#numbers.set(name, number);
  }

  /** Leaves the steps to the device of the current backend, which takes over the state. */
  #goOnDevice(): void {
    const before = this.#steps;
    if (before instanceof DeviceSteps) return;
    const steps = new DeviceSteps(this.options);
    for (const [i, { name, size, shape }] of this.#variables.entries()) {
      steps.register(name, size, shape);
      steps.engine.writeTensor(i, before.engine.readTensor(i) as TensorState);
    }
    steps.goOnFrom(before);
    before.gate.dispose();
    this.#steps = steps;
  }

  /** Gives variables that have not been shared yet the values that they have at rank 0 of the group. */
  #share(variables: readonly Variable[]): void {
    const { group } = this.#options;
    if (group === undefined) return;
    const fresh = [...new Set(variables)].filter((variable) => !this.#shared.has(variable));
    if (fresh.length === 0) return;
    const values = fresh.map((variable) => Float32Array.from(variable.dataSync()));
    group.broadcast(values);
    for (const [i, variable] of fresh.entries()) {
      tidy(() => variable.assign(tensor(values[i]!, variable.shape, variable.dtype as 'float32')));
      this.#shared.add(variable);
    }
  }

  /** New variables in the order of their registration, each with the state that waits for it. */
  #statesFor(fresh: readonly Variable[]): { variable: Variable; state: SavedTensor | undefined }[] {
    if (fresh.length === 0) return [];
    const waiting = this.#waiting;
    if (waiting.length === 0 || this.#variables.length > 0) {
      return findStates(waiting, fresh).map((state, i) => {
        const variable = fresh[i]!;
        return { variable, state: state && checkFit(state, variable) };
      });
    }
    const { own } = bindStates(waiting, fresh);
    const variableOf = new Map(own.map((state, i) => [state, fresh[i]!]));
    // In the order of the first run, in which penalties are added up. Variables without a gradient in this step take
    // their places too, where names are as they were.
    const isNamed = own.every(({ name }, i) => name === fresh[i]!.name);
    const { registeredVariables: registered } = tensorflow();
    return waiting.flatMap((state) => {
      const { name, shape } = state;
      const variable =
        variableOf.get(state) ?? (isNamed && Object.hasOwn(registered, name) ? registered[name] : undefined);
      return variable !== undefined && sameShape(variable.shape, shape) ? [{ variable, state }] : [];
    });
  }

  #register(variable: Variable, state: SavedTensor | undefined): void {
    this.steps.register(variable.name, variable.size, variable.shape);
    const number = this.#variables.push(variable) - 1;
    this.#numbers.set(variable.name, number);
    if (state !== undefined) {
      this.steps.engine.writeTensor(number, state);
      this.#waiting = this.#waiting.filter((waiting) => waiting !== state);
    }
  }
}

showSummary(TensorFlowOptimizer);
