/** What the study uses of jstat, which has no types of its own. */
declare module 'jstat' {
  const jstat: {
    readonly studentt: {
      cdf(x: number, degrees: number): number;
      inv(p: number, degrees: number): number;
    };
  };
  export default jstat;
}
