// SPDX-License-Identifier: MIT
// openapi.mjs: the OpenAPI document of a service, as redocly and swagger-parser judge it; the TypeScript client that
// openapi-typescript makes of it refuses wrong types; and results are what its schemas say, as ajv judges.
import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import SwaggerParser from '@apidevtools/swagger-parser';
import Ajv from 'ajv/dist/2020.js';
import createClient from 'openapi-fetch';
import {check, kitten, summary} from './checks.mjs';

const home = process.env.KETTLINGAR_HOME;
const run = (tool, ...words) => {
  const ran = spawnSync(`node_modules/.bin/${tool}`, words,
                        {encoding: 'utf8', env: {...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true'}});
  return {code: ran.status, text: ran.stdout + ran.stderr, out: ran.stdout};
};
const compiled = body => {
  writeFileSync('use.ts', `import createClient from "openapi-fetch";
import type {paths} from "./api";
const client = createClient<paths>({baseUrl: "http://127.0.0.1"});
export const answer = client.POST("/purr", {body: ${body}});\n`);
  return run('tsc', '--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler',
             'use.ts');
};

kitten('stop');
const alone = kitten('openapi');
kitten('start');
const text = kitten('openapi');
writeFileSync('openapi.json', text);
const document = JSON.parse(text);

await check('the program and its service tell the same methods', () =>
  assert.deepEqual(JSON.parse(alone).paths, document.paths));
await check('redocly finds no error', () => {
  const {out, text} = run('redocly', 'lint', 'openapi.json', '--format=json');
  assert.equal(JSON.parse(out).totals.errors, 0, text);
});
await check('swagger-parser finds it valid', () => SwaggerParser.validate(structuredClone(document)));
await check('openapi-typescript makes types of it', () => {
  const {code, text} = run('openapi-typescript', 'openapi.json', '-o', 'api.d.ts', '--default-non-nullable=false');
  assert.equal(code, 0, text);
});
await check('arguments of the right types compile, and any of them can be left out', () => {
  for (const body of ['{count: 3, caps: true}', '{}']) assert.equal(compiled(body).code, 0, compiled(body).text);
});
await check('a wrong type does not compile', () => {
  assert.match(compiled('{count: "three"}').text, /TS2322.*'string' is not assignable to type 'number'/);
  assert.match(compiled('{caps: 1}').text, /TS2322.*'number' is not assignable to type 'boolean/);
});
await check('a client of it calls the service', async () => {
  const token = readFileSync(`${home}/Kitty.url`, 'utf8').trim().split('/').pop();
  const client = createClient({baseUrl: document.servers[0].url, headers: {Authorization: `Bearer ${token}`}});
  const {data, response} = await client.POST('/describe', {body: {method: 'purr'}});
  assert.equal(response.status, 200);
  assert.equal(data.methods[0].name, 'purr');
  const refused = await client.POST('/purr', {body: {count: 'three'}});
  assert.equal(refused.response.status, 400);
  const ajv = new Ajv({strict: false, validateFormats: false});
  const error = document.components.responses.Error.content['application/json'].schema;
  assert.ok(ajv.validate(error, refused.error), ajv.errorsText());
  const help = await client.POST('/help', {body: {command: 'purr'}});
  const schema = document.paths['/help'].post.responses['200'].content['application/json'].schema;
  assert.equal(schema.type, 'string');
  assert.ok(ajv.validate(schema, help.data), ajv.errorsText());
});
kitten('stop');
summary();
