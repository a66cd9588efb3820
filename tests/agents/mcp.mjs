// SPDX-License-Identifier: MIT
// mcp.mjs: the methods of a service as tools of real clients of the Model Context Protocol: the SDK of version 1, that of
// version 2 in each of its modes, and the command line of the Inspector.
import assert from 'node:assert/strict';
import {execFileSync, spawn} from 'node:child_process';
import {createInterface} from 'node:readline';
import {Client as OldClient} from '@modelcontextprotocol/sdk/client/index.js';
import {StdioClientTransport as OldTransport} from '@modelcontextprotocol/sdk/client/stdio.js';
import {Client} from '@modelcontextprotocol/client';
import {StdioClientTransport} from '@modelcontextprotocol/client/stdio';
import {check, kitten, program, summary, words} from './checks.mjs';

const command = {command: program, args: [...words, 'mcp'], stderr: 'ignore'};
const info = {name: 'test', version: '1'};
const clients = {
  'SDK 1': () => [new OldClient(info), new OldTransport(command)],
  'SDK 2, default': () => [new Client(info), new StdioClientTransport(command)],
  ...Object.fromEntries(['auto', 'legacy', {pin: '2026-07-28'}].map(mode => [
    `SDK 2, ${mode.pin ?? mode}`,
    () => [new Client(info, {versionNegotiation: {mode}}), new StdioClientTransport(command)],
  ])),
};
const connected = async (name, use) => {
  const [client, transport] = clients[name]();
  await client.connect(transport);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
};

kitten('stop');
for (const name of Object.keys(clients)) {
  await connected(name, async client => {
    await check(`${name}: knows the service`, () => assert.equal(client.getServerVersion().name, 'mykitten'));
    await check(`${name}: lists tools with schemas, starting the service`, async () => {
      const {tools} = await client.listTools();
      const purr = tools.find(tool => tool.name === 'purr');
      assert.deepEqual(Object.keys(purr.inputSchema.properties), ['count', 'purr', 'caps']);
      assert.equal(purr.inputSchema.additionalProperties, false);
      assert(!tools.some(tool => tool.name === 'ping'));
    });
    await check(`${name}: calls one`, async () => {
      const {content, isError} = await client.callTool({name: 'meow', arguments: {}});
      assert.equal(content[0].type, 'text');
      assert(!isError);
    });
    await check(`${name}: gets a picture`, async () => {
      const {content} = await client.callTool({name: 'blank', arguments: {}});
      assert.equal(content[0].mimeType, 'image/gif');
    });
    await check(`${name}: reads what was wrong with an argument`, async () => {
      const {content, isError} = await client.callTool({name: 'purr', arguments: {count: 'many'}});
      assert(isError);
      assert.match(content[0].text, /count/);
    });
    await check(`${name}: is told which tool was meant`,
                () => assert.rejects(client.callTool({name: 'purrr', arguments: {}}), /did you mean 'purr'/));
    await check(`${name}: sees a stream grow`, async () => {
      const seen = [];
      const {content} = await client.callTool({name: 'purr', arguments: {count: 2}}, ...progress(name, seen));
      assert.deepEqual(seen, [1, 2]);
      assert.equal(content[0].text.split('\n').length, 2);
    });
    await check(`${name}: cancels a call`, async () => {
      const stopper = new AbortController();
      const seen = [];
      const options = {signal: stopper.signal, onprogress: () => stopper.abort('enough')};
      const call = name === 'SDK 1'
          ? client.callTool({name: 'purr', arguments: {count: 1000}}, undefined, options)
          : client.callTool({name: 'purr', arguments: {count: 1000}}, options);
      await assert.rejects(call);
      await client.callTool({name: 'meow', arguments: {}});
    });
    await check(`${name}: makes 20 calls at once`, async () => {
      const all = Array.from({length: 20}, (_, i) =>
          client.callTool({name: 'purr', arguments: {count: 1, purr: `p${i}`}}));
      (await Promise.all(all)).forEach(({content}, i) => assert.match(content[0].text, new RegExp(`"p${i}"`)));
    });
    await check(`${name}: goes on after a restart of the service`, async () => {
      kitten('restart');
      assert(!(await client.callTool({name: 'meow', arguments: {}})).isError);
      kitten('stop');
      assert(!(await client.callTool({name: 'meow', arguments: {}})).isError);
    });
  });
}

function progress(name, seen) {
  const options = {onprogress: part => seen.push(part.progress)};
  return name === 'SDK 1' ? [undefined, options] : [options];
}

const inspect = (...more) => JSON.parse(execFileSync(process.execPath, [
  'node_modules/@modelcontextprotocol/inspector/cli/build/cli.js', '--cli', program, ...words, 'mcp', ...more,
], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']}));
await check('Inspector: lists tools', () =>
    assert(inspect('--method', 'tools/list').tools.some(tool => tool.name === 'purr')));
await check('Inspector: calls one with arguments', () => {
  const answer = inspect('--method', 'tools/call', '--tool-name', 'purr', '--tool-arg', 'count=1', 'purr=loud');
  assert.equal(answer.content[0].text, '{"purr":"loud"}');
});

await check('ends at the end of its input, with a half line in it', async () => {
  const bridge = spawn(program, [...words, 'mcp'], {stdio: ['pipe', 'pipe', 'ignore']});
  const lines = createInterface({input: bridge.stdout})[Symbol.asyncIterator]();
  bridge.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n{"jsonrpc":"2.0","id":2,"meth');
  assert.deepEqual(JSON.parse((await lines.next()).value), {jsonrpc: '2.0', id: 1, result: {}});
  const ended = new Promise(resolve => bridge.on('exit', resolve));
  bridge.stdin.end();
  assert.equal(JSON.parse((await lines.next()).value).error.code, -32700);
  assert.equal(await ended, 0);
});

kitten('stop');
summary();
