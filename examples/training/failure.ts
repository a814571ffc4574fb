/** What keeps an example from running and its user can mend; the message says what. */
export class Failure extends Error {}
