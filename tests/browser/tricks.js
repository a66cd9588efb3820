// SPDX-License-Identifier: MIT
// tricks.js: every way in which a page can make a request. Each takes a URL and a name that is free for an iframe, and
// resolves to what the page learns of the answer, '' if that is nothing.

const read = async response => response.ok ? response.text() : '';
const learned = 'touched';  // for those that can only tell that it worked

function element(tag, attributes, parent = document.body) {
  return new Promise(resolve => {
    const node = Object.assign(document.createElement(tag), attributes);
    node.onload = () => resolve(node);
    node.onerror = () => resolve(null);
    parent.append(node);
  });
}

const inside = frame => {
  try {
    return frame.contentDocument.body.textContent;
  } catch {
    return '';
  }
};

async function form(url, name, attributes) {
  const frame = document.createElement('iframe');
  frame.name = name;
  document.body.append(frame);
  const node = Object.assign(document.createElement('form'), {action: url, target: name}, attributes);
  const loaded = new Promise(resolve => frame.addEventListener('load', resolve));
  document.body.append(node);
  node.submit();
  await loaded;
  return inside(frame);
}

const tricks = {
  fetch: url => fetch(url).then(read),
  fetch_credentials: url => fetch(url, {credentials: 'include'}).then(read),
  fetch_no_cors: url => fetch(url, {mode: 'no-cors'}).then(read),
  fetch_post: url => fetch(url, {method: 'POST', body: new URLSearchParams({x: '1'})}).then(read),
  fetch_post_no_cors: url => fetch(url, {method: 'POST', mode: 'no-cors', body: new URLSearchParams({x: '1'})}).then(read),
  fetch_post_empty: url => fetch(url, {method: 'POST', mode: 'no-cors'}).then(read),
  fetch_json: url => fetch(url, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}).then(read),
  fetch_authorization: url => fetch(url, {headers: {Authorization: 'Bearer x'}}).then(read),
  fetch_no_referrer: url => fetch(url, {mode: 'no-cors', referrerPolicy: 'no-referrer'}).then(read),
  xhr: url => new Promise(resolve => {
    const request = new XMLHttpRequest();
    request.onloadend = () => resolve(request.status === 200 ? request.responseText : '');
    request.open('GET', url);
    request.send();
  }),
  beacon: async url => (navigator.sendBeacon(url, new URLSearchParams({x: '1'})), ''),
  image: url => element('img', {src: url}).then(node => node ? learned : ''),
  script: url => element('script', {src: url}).then(node => node ? learned : ''),
  module: url => element('script', {type: 'module', src: url}).then(node => node ? learned : ''),
  style: url => element('link', {rel: 'stylesheet', href: url}, document.head).then(node => node ? learned : ''),
  iframe: url => element('iframe', {src: url}).then(inside),
  object: url => element('object', {data: url}).then(node => node ? inside(node) : ''),
  video: url => new Promise(resolve => {
    const node = Object.assign(document.createElement('video'), {src: url, preload: 'auto'});
    node.onerror = () => resolve('');
    node.onloadedmetadata = () => resolve(learned);
  }),
  event_source: url => new Promise(resolve => {
    const source = new EventSource(url);
    source.onopen = () => (source.close(), resolve(learned));
    source.onerror = () => (source.close(), resolve(''));
  }),
  web_socket: url => new Promise(resolve => {
    const socket = new WebSocket(url.replace('http:', 'ws:'));
    socket.onopen = () => resolve(learned);
    socket.onerror = () => resolve('');
  }),
  form_get: (url, name) => form(url, name, {method: 'GET'}),
  form_post: (url, name) => form(url, name, {method: 'POST'}),
  form_text: (url, name) => form(url, name, {method: 'POST', enctype: 'text/plain'}),
};

// Tries them all on `prefix` + the trick's name. Returns the names of those that learned something. What the browser
// itself holds back may never end, and is not waited for.
let frames = 0;
async function attempt(prefix, patience = 5000) {
  const late = new Promise(resolve => setTimeout(resolve, patience, ''));
  const told = await Promise.all(Object.entries(tricks).map(async ([name, trick]) => {
    const told = await Promise.race([trick(prefix + name, 'frame' + ++frames), late]).catch(() => '');
    return told.includes(learned) ? [prefix + name] : [];
  }));
  return told.flat();
}
