// SPDX-License-Identifier: MIT
// checks.mjs: what the checks of this folder share. KETTLINGAR_PROGRAMS is the folder of the examples, KETTLINGAR_HOME one
// for the files of their services.
import {spawnSync} from 'node:child_process';

const home = process.env.KETTLINGAR_HOME;
export const program = `${process.env.KETTLINGAR_PROGRAMS}/kitten`;
export const words = [`--app-state-dir=${home}`, `--app-data-dir=${home}`];
export const kitten = (...more) => spawnSync(program, [...words, ...more], {encoding: 'utf8'}).stdout;

let passed = 0, failed = 0;

export async function check(what, body) {
  try {
    await body();
    ++passed;
    console.log(`ok   ${what}`);
  } catch (error) {
    ++failed;
    console.log(`FAIL ${what}: ${error.stack ?? error}`);
  }
}

export function summary() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}
