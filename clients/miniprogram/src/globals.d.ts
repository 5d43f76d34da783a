// The only globals that the package uses besides ES2015: every mini program has them, also one of 2019.
declare function setTimeout(run: () => void, milliseconds: number): number;
declare function clearTimeout(timer: number | undefined): void;
