/** What runs when a form's button is pressed, until it is over or the button is pressed again. */
export interface Task {
  readonly form: HTMLFormElement;
  readonly progress: HTMLProgressElement;
  readonly status: HTMLElement;
  /**
   * @param chosen what the form holds.
   * @throws Error whose message is shown in place.
   */
  run(chosen: FormData, running: Running): Promise<void>;
}

/** What a task says while it runs, and how it learns that it should stop. */
export interface Running {
  readonly isStopped: () => boolean;
  say(words: string): void;
  /** @param share from 0 to 1. */
  advance(share: number): void;
}

/** Waits until the page was drawn and has heard its user. */
export const nextFrame = () =>
  new Promise<void>((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

/** The longest that a page may work without being drawn, in milliseconds. */
const FRAME = 16;

/** Makes a function that waits for the next frame where the last one is long ago. */
export function frameKeeper(): () => Promise<void> {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < FRAME) return;
    await nextFrame();
    last = performance.now();
  };
}

const required = <T extends HTMLElement>(found: T | null): T => {
  if (found === null) throw new Error('The page lacks an element');
  return found;
};

/** The element of this id. */
export const byId = <T extends HTMLElement>(id: string) => required(document.getElementById(id) as T | null);

/**
 * Runs tasks from their forms. One runs at a time: the others' buttons rest, and its own says Stop.
 */
export function startOnSubmit(tasks: readonly Task[]): void {
  let stop: (() => void) | undefined;
  const button = (form: HTMLFormElement) => required(form.querySelector<HTMLButtonElement>('[type=submit]'));

  const start = async ({ form, progress, status, run }: Task) => {
    let isStopped = false;
    stop = () => {
      isStopped = true;
    };
    const chosen = new FormData(form); // disabled elements have no part in it
    const own = button(form);
    const words = own.textContent;
    const others = tasks.filter((task) => task.form !== form).map((task) => button(task.form));
    const settings = [...form.querySelectorAll<HTMLInputElement>('input, select')];
    own.textContent = 'Stop';
    form.setAttribute('aria-busy', 'true');
    for (const element of [...others, ...settings]) element.disabled = true;
    status.classList.remove('failed');
    progress.value = 0;
    try {
      await run(chosen, {
        isStopped: () => isStopped,
        say: (text) => {
          status.textContent = text;
        },
        advance: (share) => {
          progress.value = share;
        },
      });
    } catch (error) {
      status.textContent = error instanceof Error ? error.message : String(error);
      status.classList.add('failed');
    } finally {
      stop = undefined;
      own.textContent = words;
      form.removeAttribute('aria-busy');
      for (const element of [...others, ...settings]) element.disabled = false;
    }
  };

  for (const task of tasks) {
    task.form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (stop) stop();
      else void start(task);
    });
  }
}

/** Milliseconds in three digits, without a unit. */
export const millisecondsText = (value: number) => (value < 100 ? value.toPrecision(3) : value.toFixed(0));
