// SPDX-License-Identifier: MIT
// service/explorer_page.ipp: the explorer page. Generated from explorer.html by src/page.sh: edit that and run
// `make header`.
#pragma once

#include <string_view>

#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

#if defined(KETTLINGAR_NO_EXPLORER)
inline constexpr std::string_view explorer_page = "";
inline constexpr std::string_view explorer_script = "";
inline constexpr std::string_view explorer_style = "";
#else
inline constexpr std::string_view explorer_script = "sha256-+iRrVghlJdqTnDdmXquEfDMEzq9RghknAAYJEUGxY9I=";
inline constexpr std::string_view explorer_style = "sha256-0JN3xkCFnDRO3PjGzkUHky1UEBCXy3zE8s1vxUWbkqw=";
inline constexpr std::string_view explorer_page = R"html(<!doctype html>
<!-- SPDX-License-Identifier: MIT
     explorer.html: the page at /explorer, with a form for each method that `describe` tells of. What the service says
     is data: text nodes and values of fields, never markup. `make header` makes explorer_page.ipp of this. -->
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Explorer</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText }
* { box-sizing: border-box; overflow-wrap: anywhere }
body { max-width: 72rem; margin: 0 auto; padding: 0 1rem 3rem }
header { border-bottom: 1px solid GrayText }
h1, h2, h3, p { margin: .3rem 0 }
h1 { font-size: 1.6rem }
main:not([hidden]) { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 1rem 2rem; padding-top: 1rem }
@media (max-width: 45rem) { main:not([hidden]) { grid-template-columns: minmax(0, 1fr) } }
ul { list-style: none; margin: .5rem 0; padding: 0 }
button, input, select, textarea, pre { font: inherit; color: inherit; max-width: 100%; padding: .3rem .6rem; border: 1px solid GrayText; border-radius: .4rem }
button { cursor: pointer; background: ButtonFace; color: ButtonText }
button:disabled { opacity: .5 }
li button { width: 100%; text-align: left; border-color: transparent; background: none; color: inherit }
[aria-current=true], [aria-pressed=true] { font-weight: bold; border-color: currentColor }
input, select, textarea { background: Field; color: FieldText }
input:not([type=checkbox]), textarea { width: 26rem }
:focus-visible { outline: 3px solid Highlight }
form > div { margin: .8rem 0 }
label { font-weight: bold }
li small { border: 1px solid; border-radius: 1rem; padding: 0 .4rem; margin-left: .4rem }
pre { overflow: auto; max-height: 26rem; margin: .3rem 0; font: .85rem/1.45 ui-monospace, monospace }
.text { white-space: pre-wrap }
canvas, progress { width: 100% }
output ul { columns: 20rem }
.heard { position: absolute; left: -99rem }
</style>
<header>
  <h1 id="name">Explorer</h1>
  <p id="about" class="text"></p>
</header>
<form id="entry" hidden>
  <p>Paste what the url file of the service says, <code>~/.local/state/APP/WORKER.url</code>, or come here by its
    command <code>open</code>.</p>
  <label for="token">Token</label> <input id="token" type="password" autocomplete="off" required> <button>Open</button>
</form>
<p id="trouble" role="alert"></p>
<main id="main" hidden>
  <div>
    <button id="see-methods" aria-pressed="true">Methods</button>
    <button id="see-options" aria-pressed="false">Options</button>
    <p><label for="filter">Filter</label> <input id="filter" type="search"></p>
    <nav aria-label="Methods"><ul id="list"></ul></nav>
  </div>
  <section id="methods" aria-label="Method"></section>
  <section id="options" aria-label="Options" hidden></section>
</main>
<script>
'use strict';
const now = () => performance.now();
const $ = id => document.getElementById(id);
const make = (tag, facts = {}, ...inside) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) name in node ? node[name] = value : node.setAttribute(name, value);
  node.append(...inside);
  return node;
};

// == JSON. Numbers stay as they were written: 64 bits do not fit into those of scripts.

const quote = JSON.stringify;
const words = text => text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
class Digits {
  constructor(text) { this.text = text; }
}
function parse(text) {
  const all = words(text);
  let at = 0;
  const until = (end, take) => {
    for (; all[at] !== end; at += all[at] === ',') take();
    ++at;
  };
  const value = () => {
    const word = all[at++];
    if (word === '[') {
      const list = [];
      until(']', () => list.push(value()));
      return list;
    }
    if (word === '{') {
      const map = Object.create(null);
      until('}', () => {
        const name = JSON.parse(all[at]);
        at += 2;
        map[name] = value();
      });
      return map;
    }
    const plain = JSON.parse(word);
    return typeof plain === 'number' ? new Digits(word) : plain;
  };
  const result = value();
  if (at < all.length) throw new SyntaxError('more than one value');
  return result;
}
const map_of = entries => `{${entries.map(([name, text]) => quote(name) + ': ' + text).join(', ')}}`;
const write = value => value instanceof Digits ? value.text
  : Array.isArray(value) ? `[${value.map(write).join(', ')}]`
  : value && typeof value === 'object' ? map_of(Object.entries(value).map(([name, one]) => [name, write(one)]))
  : quote(value);
const as_text = value => typeof value === 'string' ? value : write(value);
// The same text in lines, or in one.
function pretty(text, lines = true) {
  let out = '', depth = 0, opened = false, comma = false;
  for (const word of words(text)) {
    const closes = /^[\]}]/.test(word);
    if (closes) --depth;
    if (comma || opened !== closes) out += lines ? '\n' + '  '.repeat(depth) : comma ? ' ' : '';
    out += word[0] === '"' ? quote(JSON.parse(word)) : word === ':' ? ': ' : word;
    comma = word === ',';
    opened = /^[[{]/.test(word);
    depth += opened;
  }
  return out;
}

// == The service

let token, service, shown, running;
// True if the address brought a token, which does not stay there.
function adopt() {
  const brought = location.hash.slice(1);
  if (!brought || brought[0] === '/') return false;
  sessionStorage.explorer_token = brought;
  history.replaceState(null, '', location.pathname);
  return true;
}
const send = (method, body, signal) => fetch(method, {
  method: 'POST', body, signal, credentials: 'omit',
  headers: {'Content-Type': 'application/json', ...token && {Authorization: 'Bearer ' + token}},
});
function refusal({status}, text) {
  try {
    return `${status}: ${as_text(parse(text).error)}`;
  } catch {
    return `${status}: ${text}`;
  }
}

async function open_service() {
  token = (sessionStorage.explorer_token ?? '').replace(/[^\w.~-]/g, '');
  let trouble = '';
  try {
    const answer = await send('describe', '{}'), text = await answer.text();
    $('entry').hidden = answer.ok;
    if (answer.ok) service = parse(text), show_service();
    else if (token) trouble = 'Wrong token? ' + refusal(answer, text);
  } catch (error) {
    trouble = 'No answer: ' + error.message;
  }
  $('trouble').textContent = trouble;
}
function show_service() {
  document.title = $('name').textContent = `${service.app}/${service.worker}`;
  $('about').textContent = service.description;
  $('main').hidden = false;
  service.methods = service.methods.filter(method => !method.hidden).sort((a, b) => a.builtin - b.builtin);
  show_options();
  show_method(service.methods.find(method => '#/' + method.name === location.hash) ?? service.methods[0]);
}

function filter() {
  const wanted = $('filter').value.toLowerCase();
  const fitting = service.methods.filter(({name, doc}) => (name + doc).toLowerCase().includes(wanted));
  $('list').replaceChildren(...fitting.map(method => {
    const marks = ['public', 'stream', 'builtin'].filter(mark => method[mark]);
    const onclick = () => {
      history.replaceState(null, '', '#/' + method.name);
      show_method(method);
      $('methods').firstChild.focus();
    };
    return make('li', {}, make('button', {onclick, 'aria-current': method === shown}, method.name, ...marks.map(mark => make('small', {}, mark))));
  }));
  for (const row of document.querySelectorAll('#options form')) row.hidden = !row.textContent.toLowerCase().includes(wanted);
}

// == Forms

const listed = words => words.filter(Boolean).join(', ');
function labelled(name, input, hint, ...more) {
  const id = input.id + '-hint';
  input.setAttribute('aria-describedby', id);
  return make('div', {}, make('label', {htmlFor: input.id}, name), make('br'), input, ...more, make('br'), make('small', {id, className: 'text'}, hint));
}

// A schema without references and null.
function plain(schema) {
  if (schema.$ref) return plain(service.$defs[schema.$ref.split('/').pop()] ?? {});
  const others = schema.anyOf?.filter(one => one.type !== 'null');
  if (others?.length === 1) return plain(others[0]);
  if (!Array.isArray(schema.type)) return schema;
  return {...schema, type: schema.type[0], enum: schema.enum?.filter(one => one !== null)};
}
function kind_of(schema) {
  const {type, properties, enum: choices} = plain(schema);
  if (/"x-\w+-descriptor":/.test(write(schema))) return 'descriptor';
  if (properties?.__base64__) return 'bytes';
  return choices ? 'choice' : /^(boolean|integer|number|string)$/.test(type) ? type : 'json';
}
// What a value may look like, as JSON.
function sample(schema, depth = 0) {
  const {type, properties, enum: choices, default: usual} = plain(schema);
  if (usual !== undefined || choices) return write(usual ?? choices[0]);
  if (type === 'object' && depth < 4)
    return map_of(Object.entries(properties ?? {}).map(([name, one]) => [name, sample(one, depth + 1)]));
  return {string: '""', integer: '0', number: '0.0', boolean: 'false', array: '[]'}[type] ?? 'null';
}
// Why the text is no such value, or nothing.
function problem(kind, text) {
  if (!text || !['integer', 'number', 'json'].includes(kind)) return '';
  try {
    JSON.parse(text);
  } catch (error) {
    return 'Not JSON: ' + error.message;
  }
  return kind === 'json' || (kind === 'integer' ? /^-?\d+$/ : /^-?\d/).test(text) ? '' : 'Not a number';
}
const base64 = file => new Promise((resolve, reject) => {
  const onload = () => resolve(reader.result.replace(/^[^,]*,/, ''));
  const reader = Object.assign(new FileReader(), {onload, onerror: () => reject(reader.error)});
  reader.readAsDataURL(file);
});

// `read` gives the argument as JSON and as a word for a shell; nothing for a default.
function field(arg, at, changed) {
  const schema = plain(arg.schema), kind = kind_of(arg.schema);
  let begin = arg.required ? kind === 'json' ? pretty(sample(schema)) : '' : arg.default === null ? '' : as_text(arg.default);
  let input;
  if (kind === 'choice' || kind === 'boolean') {
    const choices = (schema.enum ?? [true, false]).map(one => make('option', {value: write(one)}, as_text(one)));
    if (!arg.required) choices.unshift(make('option', {value: begin = ''}, `default (${write(arg.default)})`));
    input = make('select', {}, ...choices);
  } else if (kind === 'json' || begin.includes('\n')) {
    input = make('textarea', {value: begin, rows: Math.min(12, begin.split('\n').length + 1), spellcheck: false});
  } else {
    input = make('input', kind === 'bytes' ? {type: 'file'} : {value: begin, autocomplete: 'off'});
    if (kind !== 'string') input.inputMode = kind === 'integer' ? 'numeric' : 'decimal';
  }
  Object.assign(input, {id: 'argument-' + at, disabled: kind === 'descriptor', required: arg.required && kind !== 'string'});
  input.oninput = () => {
    input.setCustomValidity(problem(kind, input.value.trim()));
    changed();
  };
  const facts = [arg.type ?? 'any', schema.minimum && 'from ' + write(schema.minimum), schema.maximum && 'to ' + write(schema.maximum),
    arg.required ? 'required' : 'default ' + write(arg.default), kind === 'descriptor' && `needs the unix socket: ${service.app} ${shown.name} FILE`];
  const read = async (all = true) => {
    if (kind === 'bytes') {
      const [file] = input.files;
      return file && {json: map_of([['__base64__', quote(all ? await base64(file) : '@' + file.name)]]), word: '@' + file.name};
    }
    const text = kind === 'string' ? input.value : input.value.trim();
    if ((!arg.required && text === begin) || (!text && kind !== 'string')) return;
    if (kind === 'string') return {json: quote(text), word: text.replace(/^@/, '@@')};
    return {json: text, word: kind === 'choice' ? as_text(parse(text)) : text};
  };
  return {read, node: labelled(arg.name, input, listed(facts) + '\n' + arg.doc)};
}
// In order; undefined for what is not given.
const read_all = (method, fields, all) => Promise.all(fields.map(async (one, i) => {
  const value = await one.read(all);
  return value && {...value, name: method.args[i].name};
}));
const body_of = args => map_of(args.filter(Boolean).map(arg => [arg.name, arg.json]));

// == Elsewhere

const quoted = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
const option = name => service.options.find(one => one.name === name);
function curl_line(method, args) {
  const folder = option('app_state_dir').value, file = quoted(service.worker + '.url');
  const url = `"$(cat ${folder ? quoted(folder) : '~/.local/state/' + quoted(service.app)}/${file})/${method.name}"`;
  const json = quoted(body_of(args)).replace(/("__base64__": ")@(.*?)"}/g, `$1'$$(base64 -w0 '$2')'"}`);
  const body = args.some(Boolean) || method.name === 'quitquitquit' ? ' --json ' + json : '';
  return `curl${method.stream ? ' -N' : ''}${body} ${method.public ? new URL(method.name, location) : url}`;
}
function command_line(method, args) {
  const line = [service.app];
  for (const {name, value, default: usual} of [option('worker_name'), option('app_state_dir')])
    if (value !== usual) line.push(`--${name.replaceAll('_', '-')}=${value}`);
  if (!method.builtin && /^(start|stop|restart|status|open|completion|openapi|mcp)$/.test(method.name)) line.push('--');
  line.push(method.name);
  let in_order = true;
  for (const arg of args) {
    in_order &&= arg && !/^(-|$)/.test(arg.word);
    if (arg) line.push(in_order ? arg.word : `--${arg.name}=${arg.word}`);
  }
  return line.map(quoted).join(' ');
}

// == Methods

function show_method(method) {
  running?.abort();
  shown = method;
  filter();
  const curl = make('pre', {className: 'text'}), command = make('pre', {className: 'text'}), result = make('div');
  const changed = async () => {
    const args = await read_all(method, fields, false);
    curl.textContent = curl_line(method, args);
    command.textContent = command_line(method, args);
  };
  const fields = method.args.map((arg, at) => field(arg, at, changed));
  const stop = make('button', {type: 'button', disabled: true, hidden: !method.stream}, 'Stop');
  const call = make('button', {disabled: method.args.some(arg => arg.required && kind_of(arg.schema) === 'descriptor')}, 'Call');
  const onsubmit = async event => {
    event.preventDefault();
    if (method.name === 'quitquitquit' && !confirm('Stop the service?')) return;
    running?.abort();
    const mine = running = new AbortController();
    stop.onclick = () => mine.abort();
    stop.disabled = false;
    await run(method, fields, mine.signal, result);
    if (running === mine) stop.disabled = true;
  };
  const marks = [method.public ? 'public' : 'needs the token', method.stream && 'a stream', method.read_only && 'changes nothing',
    method.returns.type && 'returns ' + method.returns.type];
  $('methods').replaceChildren(make('h2', {tabIndex: -1}, method.name), make('small', {}, listed(marks)),
    make('p', {className: 'text'}, method.doc), make('form', {onsubmit}, ...fields.map(one => one.node), call, ' ', stop), result,
    make('h3', {}, 'With curl'), curl, make('h3', {}, 'On the command line'), command);
  changed();
}

async function run(method, fields, signal, result) {
  const state = make('p', {}, 'Waiting'), heard = make('p', {className: 'heard', role: 'status'});
  const output = make('output', {'aria-live': method.stream ? 'off' : 'polite'});
  result.replaceChildren(make('h3', {}, 'Result'), state, heard, output);
  const stream = new Stream(state, heard, output), began = now();
  let end;
  try {
    const answer = await send(method.name, body_of(await read_all(method, fields)), signal);
    if (method.stream && answer.ok) {
      await stream.follow(answer);
      end = 'complete';
    } else {
      const blob = await answer.blob();
      end = answer.ok ? `${answer.status}, ${Math.round(now() - began)} ms, ${blob.size} bytes` : refusal(answer, await blob.text());
      await show_document(method, blob, output);
    }
  } catch (error) {
    end = signal.aborted ? 'stopped' : stream.open ? 'incomplete' : 'No answer: ' + error.message;
  }
  stream.end();
  state.textContent = heard.textContent = stream.open ? `${stream.count} items, ${end}` : end;
}

async function show_document(method, blob, output) {
  const {type, size} = blob, text = /^(text\/|application\/json)/.test(type), most = 1e6;
  const shown = text => type[0] === 't' ? text : /^".*\\n/.test(text) ? JSON.parse(text) : pretty(text);
  if (text && size <= most) output.append(make('pre', {}, shown(await blob.text())));
  else if (type.startsWith('image/')) output.append(make('img', {src: `data:${type};base64,${await base64(blob)}`, alt: 'The result'}));
  if (!text || size > most)
    output.append(make('a', {href: URL.createObjectURL(blob), download: method.name}, 'Save ' + type));
}

// == Streams

const calm = matchMedia('(prefers-reduced-motion: reduce)');
class Stream {
  constructor(state, heard, output) {
    Object.assign(this, {state, heard, output, count: 0, items: [], series: new Map(), plotted: 0, listed: 0, told: 0});
    this.bar = make('progress', {hidden: true, 'aria-label': 'Progress'});
    this.message = make('p');
    this.plot = make('canvas', {hidden: true, role: 'img', 'aria-label': 'Plot'});
    this.legend = make('ul');
    this.list = make('pre', {hidden: true, tabIndex: 0, 'aria-label': 'Items'});
  }
  // Values are lines of JSON, events end in an empty line.
  async follow(answer) {
    this.open = true;
    this.output.append(this.bar, this.message, this.plot, this.legend, this.list);
    const events = answer.headers.get('Content-Type')?.startsWith('text/event-stream'), mark = events ? '\n\n' : '\n';
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
      const {done, value} = await reader.read();
      const all = rest + (done ? mark : value);
      let from = 0, turn = now();
      for (let end; (end = all.indexOf(mark, from)) >= 0; from = end + mark.length) {
        if (end > from) this.item(events ? all.slice(from, end).replace(/^data: ?/gm, '') : all.slice(from, end));
        if (now() < turn + 10) continue;
        await new Promise(resolve => setTimeout(resolve));  // others have their turn
        turn = now();
      }
      if (done) return;
      rest = all.slice(from);
    }
  }
  item(text) {
    let value;
    try {
      value = parse(text);
    } catch {
      return this.keep(text);
    }
    if (value?.progress instanceof Digits) {
      Object.assign(this.bar, {hidden: false, value: Number(value.progress.text)});
      this.message.textContent = value.message ?? '';
      if (Object.keys(value).every(name => /^(progress|message|_format)$/.test(name))) return this.later();
    }
    this.measure(value, '');
    this.keep(pretty(text, false));
  }
  keep(text) {
    ++this.count;
    if (this.items.push(text) > 2000) this.items.splice(0, 1000);
    this.later();
  }
  // Each number is one of a series named after its place.
  measure(value, path) {
    if (value instanceof Digits) {
      const one = this.series.get(path) ?? this.add_series(path), number = Number(value.text);
      if (!one) return;
      Object.assign(one, {last: value.text, low: Math.min(one.low, number), high: Math.max(one.high, number)});
      if (one.points.push(number) > 1200) one.points.splice(0, 600);
    } else if (value && typeof value === 'object') {
      for (const name in value) this.measure(value[name], path ? path + '.' + name : name);
    }
  }
  add_series(path) {
    if (this.series.size === 50) return;
    const checked = (!path.includes('.') || !this.series.size) && this.plotted++ < 6;
    const box = make('input', {type: 'checkbox', checked, onchange: () => this.later()});
    const one = {points: [], low: Infinity, high: -Infinity, box, figures: make('span')};
    this.legend.append(make('li', {}, make('label', {}, box, ' ', path || 'value'), ' ', one.figures));
    this.series.set(path, one);
    return one;
  }
  later() {
    if (this.due) return;
    this.due = true;
    const draw = () => this.draw();
    calm.matches ? setTimeout(draw, 500) : requestAnimationFrame(draw);
  }
  draw() {
    this.due = false;
    for (const {figures, last, low, high} of this.series.values()) figures.textContent = `${last}, from ${low} to ${high}`;
    this.draw_plot([...this.series].filter(([, one]) => one.box.checked));
    if (!this.ended) this.state.textContent = `${this.count} items`;
    if (!this.ended && now() > this.told + 5000) this.heard.textContent = this.state.textContent, this.told = now();
    if (now() < this.listed + 250) return this.later();
    this.listed = now();
    this.list.hidden = !this.count;
    this.list.textContent = this.items.slice(-1000).join('\n');
    this.list.scrollTop = this.list.scrollHeight;
  }
  // A lane for each series.
  draw_plot(chosen) {
    const {plot} = this, lane = 72, scale = devicePixelRatio;
    plot.hidden = !chosen.length;
    const width = plot.clientWidth, pen = plot.getContext('2d');
    Object.assign(plot, {width: width * scale, height: lane * chosen.length * scale});
    plot.style.height = lane * chosen.length + 'px';
    pen.scale(scale, scale);
    pen.fillStyle = pen.strokeStyle = getComputedStyle(plot).color;
    pen.font = '13px system-ui, sans-serif';
    for (const [at, [path, one]] of chosen.entries()) {
      const points = one.points.slice(-600), low = Math.min(...points), high = Math.max(...points), range = `${low} to ${high}`;
      pen.fillText(path || 'value', 0, lane * at + 16);
      pen.fillText(range, width - pen.measureText(range).width, lane * at + 16);
      pen.beginPath();
      pen.lineWidth = 1.5;
      points.forEach((y, x) => pen.lineTo(x * width / (points.length - 1 || 1), lane * (at + 1) - 4 - 44 * (y - low) / (high - low || 1)));
      pen.stroke();
    }
  }
  end() {
    this.ended = true;
    this.listed = 0;
    if (this.open) this.later();
  }
}

// == Options

function show_options() {
  const said = make('p', {role: 'status'}), save = make('input', {type: 'checkbox', id: 'save'});
  const built_in = one => /^(app|worker)_/.test(one.name);
  const rows = service.options.sort((a, b) => built_in(a) - built_in(b)).map((one, at) => {
    const type = one.secret ? 'password' : 'text';
    const input = make('input', {id: 'option-' + at, type, value: one.secret ? '' : as_text(one.value), autocomplete: 'off'});
    const change = async entries => {
      if (save.checked) entries.push(['save', '"yes"']);
      try {
        const answer = await send('config', map_of(entries)), reply = await answer.text();
        if (!answer.ok) return said.textContent = refusal(answer, reply);
        const {config, note} = parse(reply);
        if (!one.secret) input.value = as_text(config[one.name]);
        said.textContent = note ?? `${one.name} has been changed`;
      } catch (error) {
        said.textContent = 'No answer: ' + error.message;
      }
    };
    const onsubmit = event => {
      event.preventDefault();
      const raw = one.type !== 'str' && !problem('json', input.value);
      change([['key', quote(one.name)], ['val', raw && input.value || quote(input.value)]]);
    };
    const onclick = () => change([['reset', quote(one.name)]]);
    const facts = [one.type, !one.secret && 'default ' + write(one.default), one.at_start && 'counts from the next start'];
    const button = (text, facts) => make('button', {...facts, 'aria-label': `${text} ${one.name}`}, text);
    return make('form', {onsubmit}, labelled(one.name, input, `${one.help} (${listed(facts)})`, ' ', button('Set'), ' ', button('Reset', {type: 'button', onclick})));
  });
  $('options').replaceChildren(save, ' ', make('label', {htmlFor: 'save'}, 'Keep for the next start'), said, ...rows);
}

const see = tab => () => {
  for (const one of ['methods', 'options']) $('see-' + one).setAttribute('aria-pressed', one === tab), $(one).hidden = one !== tab;
  $('list').hidden = tab === 'options';
};
$('see-methods').onclick = see('methods');
$('see-options').onclick = see('options');
$('filter').oninput = filter;
$('entry').onsubmit = event => {
  event.preventDefault();
  sessionStorage.explorer_token = $('token').value.trim().split(/[/#]/).pop();
  $('token').value = '';
  open_service();
};
addEventListener('hashchange', () => adopt() && location.reload());
adopt();
open_service();
</script>
</html>
)html";
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
