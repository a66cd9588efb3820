# SPDX-License-Identifier: MIT
"""checks.py: what tests/interop/run runs. Each section can be named as an argument; without any, all are run."""
import asyncio
import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import kettlingar
import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get('KETTLINGAR_BUILD', 'build'))
PATIENCE = 30  # seconds for one step, on a loaded machine
SECTION = 300  # seconds for a section
MOST = 1024 * 1024 - 400  # what fits into a message of 1 MiB, head included

passed = failed = 0


def check(what, ok, seen=''):
    """Prints the line of one check."""
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
    print('%-4s %s%s' % ('ok' if ok else 'FAIL', what, '' if ok or not seen else ': ' + shorter(seen)), flush=True)


def equal(what, seen, expected):
    check(what, same(seen, expected), '%s instead of %s' % (shorter(seen), shorter(expected)))


def same(one, other, ordered=False):
    """Equal with all types: True is not 1, and 1 not 1.0; also in the order of keys, if asked."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (list(one) == list(other) or not ordered and one.keys() == other.keys()) and all(
            same(one[key], other[key], ordered) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair, ordered) for pair in zip(one, other))
    return one == other


def shorter(value):
    text = value if isinstance(value, str) else repr(value)
    text = text.replace('\n', '\\n')
    return text if len(text) < 400 else text[:200] + ' ... ' + text[-150:]


# ---- processes

folders, processes = [], []


def folder():
    """A state directory, gone at the end."""
    path = tempfile.mkdtemp(prefix='kettlingar.')
    folders.append(path)
    return path


def clean_up():
    while processes:
        stop(processes[-1])
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)


def stop(process):
    """The whole group: the package's services are children of the process that starts them."""
    if process in processes:
        processes.remove(process)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if process.stdout:
        process.stdout.close()


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(path + ' has not been built')
    return path


class Ours:
    """A service of this library."""

    def __init__(self, name, worker, state, *words):
        self.program, self.worker, self.state = program(name), worker, state
        self.words = ['--app-state-dir=' + state, '--app-data-dir=' + state, '--worker-name=' + worker]
        log = os.path.join(state, worker + '.log')
        with open(log, 'ab') as output:
            self.process = subprocess.Popen([self.program, *self.words, *words, 'start', '--foreground'],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)
        processes.append(self.process)
        wait_for(lambda: os.path.exists(os.path.join(state, worker + '.url')), worker + ' runs')
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        stop(self.process)

    def descriptors(self):
        return len(os.listdir('/proc/%d/fd' % self.pid))


class Theirs(Ours):
    """A service of services.py."""

    def __init__(self, name, app, worker, state, *words):
        self.worker, self.state = worker, state
        words = ['--app-state-dir=' + state, '--app-data-dir=' + state, '--worker-name=' + worker,
                 '--worker-log-level=60', *words]
        with open(os.path.join(state, worker + '.log'), 'ab') as log:
            self.process = subprocess.Popen([sys.executable, os.path.join(HERE, 'services.py'), name, *words],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            start_new_session=True)
        processes.append(self.process)
        if self.process.stdout.readline() != b'ready\n':
            raise RuntimeError(name + ' does not start')
        self.client = Client(app, worker, state)
        self.pid = asyncio.run(self.client.result('pid'))

    def descriptors(self):
        asyncio.run(self.client.result('pid'))  # collects garbage
        return super().descriptors()


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError('waited in vain: ' + what)
        time.sleep(0.01)


def ran(*command, given=None):
    """(exit code, standard output, standard error)"""
    done = subprocess.run(command, input=given, stdin=None if given is not None else subprocess.DEVNULL,
                          capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr.decode('utf-8', 'replace')


# ---- clients

class Caller(kettlingar.RPCKitten):
    """The package's client, without knowledge of any service."""

    class Configuration(kettlingar.RPCKitten.Configuration):
        WORKER_LOG_LEVEL = 60


WAYS = [(over, encoding) for over in ('unix', 'TCP') for encoding in ('msgpack', 'JSON')]


class Client:
    """The package's client, over one transport in one encoding."""

    def __init__(self, app, worker, state, over='unix', encoding='msgpack'):
        self.words = ['--app-name=' + app, '--worker-name=' + worker, '--app-state-dir=' + state,
                      '--app-data-dir=' + state]
        if over == 'unix':
            self.words.append('--worker-use-tcp=n')
        if encoding == 'JSON':
            self.words.append('--worker-use-msgpack=n')
        self.options = {} if over == 'unix' else {'call_allow_unix': False}

    async def connected(self):
        return await asyncio.wait_for(Caller(args=self.words).connect(retry=0), PATIENCE)

    async def call(self, method, *arguments, **named):
        """The result, the list of items, or the exception."""
        try:
            return await self.result(method, *arguments, **named)
        except Exception as error:  # pylint: disable=broad-exception-caught
            return error

    async def result(self, method, *arguments, **named):
        caller = await self.connected()
        result = await asyncio.wait_for(caller.call(method, *arguments, **self.options, **named), PATIENCE)
        if not callable(result):
            return result
        return await asyncio.wait_for(collected(result()), PATIENCE)


async def collected(stream):
    return [item async for item in stream]


def failed_with(error, kind, *parts):
    return isinstance(error, kind) and all(part in str(error) for part in parts)


def ours(app, worker, state, calls, over='unix', encoding='msgpack'):
    """What interop_peer says came of these calls."""
    packed = Caller.to_msgpack(None, calls)
    options = (['tcp'] if over == 'TCP' else []) + (['json'] if encoding == 'JSON' else [])
    code, output, errors = ran(program('interop_peer'), 'calls', app, worker, state, *options, given=packed)
    if code != 0:
        raise RuntimeError('interop_peer exits with %d: %s' % (code, errors))
    return Caller.from_msgpack(None, output)


# ---- our services, Python clients

async def kitten_by(client, name):
    """Everything that a Python client can ask of examples/kitten.cpp, or of the Kitten of services.py."""
    call = client.call
    pong = await call('ping')
    check(name + 'ping', isinstance(pong, dict) and pong.get('pong') is True, pong)
    methods = pong.get('methods', {}) if isinstance(pong, dict) else {}
    check(name + 'ping says which methods stream',
          [methods.get(m, {}).get('is_generator') for m in ('purr', 'both', 'meow')] == [True, True, False], methods)
    documented = await call('ping', docs=True)
    check(name + 'ping with docs', isinstance(documented, dict) and documented['methods']['meow'].get('help'),
          documented)
    equal(name + 'meow', await call('meow'),
          kettlingar.HttpResult('text/plain', 'Meow world, meow!\n'))
    blank = await call('blank')
    check(name + 'blank', isinstance(blank, dict) and blank['mimetype'] == 'image/gif' and
          isinstance(blank['data'], bytes) and blank['data'].startswith(b'GIF89a'), blank)
    purrs = [{'purr': sound, '_format': 'Kitty says %(purr)s'} for sound in ('PURR', 'PURRPURR')]
    equal(name + 'purr with arguments as text', await call('purr', '0x2', caps='y'), purrs)
    equal(name + 'purr with numbers and names', await call('purr', count=2, purr='PURR', caps=False), purrs)
    equal(name + 'purr without items', await call('purr', 0), [])
    both = await call('both')
    check(name + 'both', isinstance(both, list) and [type(item) for item in both] == [str, dict, dict] and
          both[2]['purr'] == 'purrpurr', both)
    error = await call('freakout')
    check(name + 'freakout', failed_with(error, RuntimeError, 'HTTP 500', 'Nothing is good enough for me!'), error)
    equal(name + 'binary_result', await call('binary_result'), {'binary': b'data'})
    equal(name + 'slow_meow', await call('slow_meow', delay=0.1),
          kettlingar.HttpResult('text/plain', 'Meow world, meow after 0.10s!\n'))
    error = await call('no_such_method', 1)
    check(name + 'unknown method', failed_with(error, KeyError, 'HTTP 404'), error)
    for arguments, named in ((['elephant'], {}), ([1, 'purr', 'n', 4], {}), ([], {'zebra': 1})):
        error = await call('purr', *arguments, **named)
        check(name + 'purr with wrong arguments %s %s' % (arguments, named),
              isinstance(error, (ValueError, RuntimeError)) and 'HTTP ' in str(error), error)


def python_calls_kitten():
    state = folder()
    with Ours('kitten', 'Kitty', state, '--sleep-time=0') as kitty:
        for over, encoding in WAYS:
            name = 'Python client, our kitten, %s, %s: ' % (over, encoding)
            asyncio.run(kitten_by(Client('mykitten', 'Kitty', state, over, encoding), name))
        asyncio.run(convenience(state))
        asyncio.run(strangers(state))
        python_command_line(state)
        equal('Python client, our kitten: quitquitquit',
              asyncio.run(Client('mykitten', 'Kitty', state).call('quitquitquit')), 'Goodbye forever')
        check('our kitten has removed its files when it says so',
              not [name for name in os.listdir(state) if not name.endswith('.log')], os.listdir(state))
        check('our kitten exits with 0', kitty.process.wait(PATIENCE) == 0)
    for words, client, name in (
            (['--worker-use-unixdomain=n'], Client('mykitten', 'Kitty', state, 'TCP'), 'without a unix socket'),
            (['--worker-use-tcp=n'], Client('mykitten', 'Kitty', state), 'without TCP'),
            (['--worker-use-msgpack=n'], Client('mykitten', 'Kitty', state, 'TCP', 'JSON'), 'without msgpack'),
            (['--worker-url-path=some/prefix'], Client('mykitten', 'Kitty', state, 'TCP'), 'with a prefix')):
        with Ours('kitten', 'Kitty', state, *words):
            equal('Python client, our kitten ' + name + ': meow', asyncio.run(client.call('meow')),
                  kettlingar.HttpResult('text/plain', 'Meow world, meow!\n'))


def python_command_line(state):
    def says(what, words, code, output, errors=''):
        command = 'import sys; sys.path.insert(0, %r); import services; services.Kitten.Main()' % HERE
        seen = ran(sys.executable, '-c', command, '--app-state-dir=' + state, '--app-data-dir=' + state,
                   '--worker-log-level=60', *words)
        check('command line of the package, our kitten: ' + what,
              seen[0] == code and seen[1].startswith(output) and errors in seen[2], '%s' % (seen,))

    says('start, which finds it running', ['start'], 0, b'mykitten/Kitty: Running at http://127.0.0.1:')
    says('ping', ['ping'], 0, b'Pong via unix-domain! (see JSON for full method list)\n')
    says('-t ping', ['-t', 'ping'], 0, b'Pong via 127.0.0.1:')
    says('meow', ['meow'], 0, b'Meow world, meow!\n')
    says('purr', ['purr', '0x2', '--caps=y'], 0, b'Kitty says PURR\nKitty says PURRPURR\n')
    says('-J -j purr', ['-J', '-j', 'purr'], 0, b'{"purr": "purr"}\n')
    says('help purr', ['help', 'purr'], 0, b'/purr ')
    says('config', ['config'], 0, b'--app_name=mykitten\n')
    says('freakout', ['freakout'], 6, b'', 'Kitty freakout failed: HTTP 500: Nothing is good enough for me!')
    says('an unknown method', ['nope'], 2, b'', 'HTTP 404')
    says('purr elephant', ['purr', 'elephant'], 3, b'', 'invalid literal')


async def convenience(state):
    """As users write it: connect() over TCP, then methods by their names over the unix socket."""
    words = ['--app-name=mykitten', '--worker-name=Kitty', '--app-state-dir=' + state, '--app-data-dir=' + state]
    kitty = await Caller(args=words).connect(retry=0)
    loud = [item['purr'] async for item in kitty.purr('0xa', caps='n')]
    equal('Python client, our kitten: a method by its name streams', loud, ['purr' * i for i in range(1, 11)])
    check('Python client, our kitten: ... and another does not', (await kitty.stretch())['data'].startswith('Streee'))
    came = []

    async def meow(delay):
        came.append((await kitty.slow_meow(delay=delay))['data'])

    await asyncio.gather(meow(0.4), meow(0.2), meow(0))
    equal('Python client, our kitten: overlapping calls', came,
          ['Meow world, meow after %.2fs!\n' % delay for delay in (0, 0.2, 0.4)])


async def strangers(state):
    """A client whose url file has another token."""
    other = folder()
    with open(os.path.join(state, 'Kitty.url'), encoding='utf-8') as file:
        url = file.read()
    with open(os.path.join(other, 'Kitty.url'), 'w', encoding='utf-8') as file:
        file.write(url.rsplit('/', 1)[0] + '/WRONGTOKEN')
    call = functools.partial(Caller.call, Caller(args=['--worker-name=Kitty', '--app-state-dir=' + other,
                                                       '--app-data-dir=' + other]))
    call.args[0]._url = url.rsplit('/', 1)[0] + '/WRONGTOKEN'
    try:
        result = await asyncio.wait_for(call('purr'), PATIENCE)
    except Exception as error:  # pylint: disable=broad-exception-caught
        result = error
    check('Python client, our kitten: a wrong token', failed_with(result, PermissionError, 'HTTP 403'), result)
    call.args[0]._url = url.rsplit('/', 1)[0]
    equal('Python client, our kitten: a stranger meows', await asyncio.wait_for(call('meow'), PATIENCE),
          kettlingar.HttpResult('text/plain', 'Meow world, meow!\n'))


# ---- Python services, our clients

def we_call_kitten():
    state = folder()
    with Theirs('Kitten', 'mykitten', 'Kitty', state, '--sleep-time=0') as kitty:
        for flags in ([], ['-t'], ['-J'], ['-t', '-J']):
            command_line(state, flags)
        for over, encoding in WAYS:
            our_client(state, over, encoding)
        code, output, errors = ran(program('kitten'), '--app-state-dir=' + state, '--app-data-dir=' + state, 'stop')
        equal('our command line, Python kitten: stop', (code, output, errors), (0, b'mykitten/Kitty: Stopped\n', ''))
        check('the Python kitten has ended', kitty.process.wait(PATIENCE) is not None)
    with Theirs('Kitten', 'mykitten', 'Kitty', state, '--sleep-time=0'):
        code, output, errors = ran(program('kitten_client'), '--app-state-dir=' + state)
        check('our example kitten_client, Python kitten', code == 0 and output.endswith(b'Goodbye forever\n'),
              (code, output, errors))


def command_line(state, flags):
    name = ' '.join(['our command line, Python kitten', *flags]) + ': '

    def says(what, words, code, output, *errors):
        seen = ran(program('kitten'), '--app-state-dir=' + state, '--app-data-dir=' + state, *flags, *words)
        ok = seen[0] == code and (output is None or seen[1] == output) and all(text in seen[2] for text in errors)
        check(name + what, ok and (bool(errors) or seen[2] == ''), '%s' % (seen,))

    via = 'unix-domain' if '-t' not in flags else '127.0.0.1:'
    code, output, _ = ran(program('kitten'), '--app-state-dir=' + state, '--app-data-dir=' + state, *flags, 'ping')
    check(name + 'ping', code == 0 and output.startswith(b'Pong via ' + via.encode()), output)
    says('meow', ['meow'], 0, b'Meow world, meow!\n')
    says('blank', ['blank'], 0, b'GIF89a\x01\x00\x01\x00\x80\xff;')
    says('purr', ['purr', '0x2', '--caps=y'], 0, b'Kitty says PURR\nKitty says PURRPURR\n')
    says('purr without items', ['purr', '0'], 0, b'')
    says('both', ['both'], 0, b'Meow world, meow!\nKitty says purr\nKitty says purrpurr\n')
    says('freakout', ['freakout'], 6, b'', 'Kitty freakout failed: HTTP 500: Nothing is good enough for me!')
    says('a method that only the service knows', ['pid'], 0, None)
    says('an unknown method', ['no_such_method'], 2, b'', 'no_such_method')
    says('purr elephant', ['purr', 'elephant'], 6, b'', 'elephant')
    if not flags:
        says('-j binary_result', ['-j', 'binary_result'], 0, b'{"binary": {"__bytes__": "data"}}\n')
        says('slow_meow, longer than Python clients wait', ['slow_meow', '1.2'], 0, b'Meow world, meow after 1.20s!\n')


def our_client(state, over, encoding):
    name = 'our client, Python kitten, %s, %s: ' % (over, encoding)
    calls = [['call', 'meow', []], ['call', 'blank', []], ['stream', 'purr', ['0x2', 'rr']], ['stream', 'both', []],
             ['stream', 'purr', [0]], ['call', 'freakout', []], ['call', 'no_such_method', []],
             ['call', 'binary_result', []], ['call', 'purr', [2]], ['stream', 'purr', ['elephant']]]
    items = [{'purr': 'rr' * i, '_format': 'Kitty says %(purr)s'} for i in (1, 2)]
    purrs = [{'purr': 'purr' * i, '_format': 'Kitty says %(purr)s'} for i in (1, 2)]
    expected = [{'result': {'mimetype': 'text/plain', 'data': 'Meow world, meow!\n'}},
                {'result': {'mimetype': 'image/gif', 'data': b'GIF89a\x01\x00\x01\x00\x80\xff;'}},
                {'items': items}, {'items': ['Meow world, meow!\n', *purrs]}, {'items': []},
                {'error': 'Nothing is good enough for me!', 'status': 500},
                {'error': 'Not Found', 'status': 404}, {'result': {'binary': b'data'}},
                {'result': purrs[0]},
                {'items': [], 'error': "invalid literal for int() with base 10: 'elephant'", 'status': 500}]
    for call, seen, wanted in zip(calls, ours('mykitten', 'Kitty', state, calls, over, encoding), expected):
        equal(name + '%s %s%s' % tuple(call[:2] + [call[2] or '']), seen, wanted)


def odd_answers():
    """What is not just a value, from a Python service to our client."""
    state = folder()
    with Theirs('Odd', 'interop', 'odd', state):
        for over, encoding in WAYS:
            name = 'our client, Python service, %s, %s: ' % (over, encoding)
            expected = {
                'nothing': {'result': None},
                'empty_bytes': {'result': b''},
                'document': {'result': {'mimetype': 'image/gif', 'data': b'GIF89a\x00\n\xff'}},
                'other_status': {'error': None, 'status': 418},
                'error_map': {'error': 'a result with this key', 'status': 500},
                'fails': {'error': 'no luck today', 'status': 500},
                'missing': {'error': 'nothing of that name', 'status': 500},
                'denies': {'error': 'not for you', 'status': 403},
                'asks': {'error': 'Who are you?', 'status': 423},
                'moved': {'error': None, 'status': 302},
                'vanishes': {'error': None},
                'breaks_at_once': {'error': 'not even one', 'status': 500},
                'asks_first': {'error': 'Who are you?', 'status': 423},
                'finished_first': {'error': 'closed today', 'status': 403}}
            calls = [['call', method, []] for method in expected]
            for (method, wanted), seen in zip(expected.items(), ours('interop', 'odd', state, calls, over, encoding)):
                if wanted.get('error', '') is None:
                    check(name + method, seen.pop('error', None), seen)
                    del wanted['error']
                equal(name + method, seen, wanted)
            streams = {
                'no_items': {'items': []},
                'breaks': {'items': [{'item': 1}, {'item': 2}], 'error': 'that was all', 'status': 500},
                'events': {'items': [{'event': 'hello', 'data': 'two\nlines'},
                                     {'id': '5', 'retry': '100', 'data': '{"k": 1}\n'}, {'data': '{"a": 1}\n'}]},
                'raw_items': {'items': [b'one\n', b'two\n']}}
            calls = [['stream', method, []] for method in streams]
            for (method, wanted), seen in zip(streams.items(), ours('interop', 'odd', state, calls, over, encoding)):
                equal(name + method, seen, wanted)


# ---- values

def values():
    """(name, value), with what becomes of it for a Python client or service in JSON where that differs."""
    nested = 'deep'
    for i in range(30):
        nested = {'level %d' % i: [nested, i]}
    plain = {
        'nothing': None, 'truth': True, 'falsehood': False, 'empty text': '', 'empty list': [], 'empty map': {},
        'empty bytes': b'', 'lists in lists': [[], [[]], {'': ''}], 'nested': nested, 'floats': [0.0, -0.5, 1e300, 1.0],
        'all bytes': bytes(range(256)), 'unicode': 'Kätzchen \U0001f408 \u2028 \x00 \x7f \ufffd', 'quotes': '"\\\b\n/\'',
        'unicode keys, in order': {'ключ': 1, '': 2, 'a b': 3, 'B': 4, 'A': 5}, 'many': list(range(-200, 70000, 601)),
        'many keys': {'key%d' % i: i for i in range(1000)}}
    for bits in (5, 7, 8, 15, 16, 31, 32, 53, 63, 64, 65, 200, 2000):
        edge = 2**bits
        plain['integers at 2^%d' % bits] = [edge - 1, edge, edge + 1, -edge + 1, -edge, -edge - 1]
    for size in (1, 2, 31, 32, 255, 256, 65535, 65536, 300000, MOST):
        plain['text of %d bytes' % size] = 'x' * size
        plain['%d bytes' % size] = (b'\x00\xff\n\r' * (size // 4 + 1))[:size]
    return plain


def fits(value, encoding):
    """Whether a call with it stays below 1 MiB, which is what both sides take by default."""
    return not (encoding == 'JSON' and isinstance(value, bytes) and len(value) * 4 > MOST * 3)


def as_python_reads(value):
    """In the package's JSON, empty bytes stay the map that stands for them."""
    return {'__base64__': ''} if value == b'' and isinstance(value, bytes) else value


def small_items(given, language):
    """What can be an item of a stream: in the package, null ends it."""
    return [value for value in given.values()
            if (value is not None or language != 'Python') and (not isinstance(value, (str, bytes)) or len(value) < 1000)]


def values_to(service, app, state, language):
    everything = values()
    for over, encoding in WAYS:
        way = '%s, %s' % (over, encoding)
        given = {name: value for name, value in everything.items() if fits(value, encoding)}
        outcomes = ours(app, 'echo', state, [['call', 'echo', [value]] for value in given.values()], over, encoding)
        wrong = [(name, outcome) for (name, value), outcome in zip(given.items(), outcomes)
                 if not same(outcome, {'result': value}, ordered=True)]
        check('our client, %s, %s: %d values come back' % (service, way, len(given)), not wrong, wrong[:3])
        items = small_items(given, language)
        outcome = ours(app, 'echo', state, [['stream', 'echo', [items]], ['stream', 'stream', [items]]], over, encoding)
        check('our client, %s, %s: in a list, and as items' % (service, way),
              same(outcome, [{'items': [items]}, {'items': items}], ordered=True), outcome)
        large = ['x' * 65536, 'y' * 300000, b'\x00\xff' * 100000, '']
        outcome = ours(app, 'echo', state, [['stream', 'stream', [large]]], over, encoding)
        equal('our client, %s, %s: large items' % (service, way), outcome, [{'items': large}])
        equal('Python client, %s, %s: large items' % (service, way),
              asyncio.run(Client(app, 'echo', state, over, encoding).call('stream', large)), large)
        asyncio.run(python_values(Client(app, 'echo', state, over, encoding), given, encoding, language,
                                  'Python client, %s, %s: ' % (service, way)))


async def python_values(client, given, encoding, language, name):
    in_json = as_python_reads if encoding == 'JSON' else lambda value: value
    if language == 'Python':
        given = {what: value for what, value in given.items() if not isinstance(value, (str, bytes)) or len(value) < 8000}
    wrong = []
    for what, value in given.items():
        result = await client.call('echo', value)
        if not same(result, in_json(value), ordered=True):
            wrong.append((what, result))
    note = {'Python': ' below 8 KiB (services of the package send no length)'}.get(language, '')
    note += ' (empty bytes as a map, as the package reads them)' if encoding == 'JSON' else ''
    check(name + '%d values come back%s' % (len(given), note), not wrong, wrong[:3])
    items = small_items(given, language)
    expected = [in_json(item) for item in items]
    equal(name + 'as items of a stream', await client.call('stream', items), expected)
    equal(name + 'bytes of text', await client.call('length', b'\xff' * 1000), 1000)


def events(state):
    """What is empty or zero is an event, too, and comments are none, for browsers, their client and ours."""
    given = [{'event': 'count', 'data': 0}, {'data': ''}, {'data': None}, {'event': 'done'}, {'data': 'a\n'}, {'k': 0},
             {'id': 0, 'data': [{}]}, {}, {'data': 'last'}]
    expected = [{'event': 'count', 'data': '0'}, {'data': ''}, {'data': 'null'}, {'event': 'done', 'data': ''},
                {'data': 'a\n'}, {'data': '{"k": 0}'}, {'id': '0', 'data': '[{}]'}, {'data': 'last'}]
    for over, encoding in WAYS:
        way = 'our service, %s, %s: events' % (over, encoding)
        outcome = ours('interop', 'echo', state, [['stream', 'events', [given]]], over, encoding)
        equal('our client, ' + way, outcome, [{'items': expected}])
        equal('Python client, ' + way, asyncio.run(Client('interop', 'echo', state, over, encoding).call('events', given)),
              expected)


def values_everywhere():
    state = folder()
    with Ours('interop_peer', 'echo', state):
        values_to('our service', 'interop', state, 'C++')
        events(state)
    state = folder()
    with Theirs('Echo', 'interop', 'echo', state):
        values_to('Python service', 'interop', state, 'Python')


# ---- descriptors

def descriptors():
    state = folder()
    text = os.path.join(state, 'text')
    with open(text, 'wb') as file:
        file.write(b'what a cat reads\n\x00\xff')
    for service in ('our', 'Python'):
        make = (lambda: Ours('filecat', 'milton', state)) if service == 'our' else (
            lambda: Theirs('FileCat', 'filecat', 'milton', state))
        with make() as milton:
            asyncio.run(Client('filecat', 'milton', state).call('ping'))
            before = milton.descriptors()
            for encoding in ('msgpack', 'JSON'):
                asyncio.run(python_descriptors(Client('filecat', 'milton', state, 'unix', encoding), state, text,
                                               'Python client, %s filecat, %s: ' % (service, encoding)))
                our_descriptors(state, text, encoding, 'our client, %s filecat, %s: ' % (service, encoding))
            for command in ('cat', 'read'):
                equal('our command line, %s filecat: %s' % (service, command),
                      ran(program('filecat'), '--app-state-dir=' + state, '--app-data-dir=' + state, command, text),
                      (0, b'what a cat reads\n\x00\xff', ''))
            asyncio.run(over_tcp(Client('filecat', 'milton', state, 'TCP'), text, service))
            settled(service + ' filecat', milton, before)


def settled(name, service, before):
    try:
        wait_for(lambda: service.descriptors() <= before, 'descriptors')
        count = before
    except TimeoutError:
        count = service.descriptors()
    check('%s: as many open descriptors as at the beginning' % name, count == before, '%d, then %d' % (before, count))


async def python_descriptors(client, state, text, name):
    with open(text, 'rb') as file:
        equal(name + 'cat(file)', await client.call('cat', file), b'what a cat reads\n\x00\xff')
        check(name + '... and ours is still open', not file.closed and os.fstat(file.fileno()))
    files = await client.call('read', text)
    check(name + 'read(path)', isinstance(files, list) and len(files) == 1 and files[0].mode == 'rb' and
          files[0].read() == b'what a cat reads\n\x00\xff', files)
    for file in files if isinstance(files, list) else ():
        file.close()
    error = await client.call('read', text + '.missing')
    check(name + 'read(path) of a file that is not there', isinstance(error, (RuntimeError, KeyError, ValueError)) and
          'HTTP ' in str(error), error)
    error = await client.call('cat', 'no file')
    check(name + 'cat(text)', isinstance(error, (RuntimeError, ValueError)), error)
    target = os.path.join(state, 'target')
    with open(target, 'w+b') as file:
        equal(name + 'call_reply_to a file', await client.call('help', 'cat', call_reply_to=file),
              {'replied_to_first_fd': True})
    wait_for(lambda: b'\n\n' in contents(target), 'an answer in a file')
    check(name + '... which has the whole answer', contents(target).startswith(b'HTTP/1.1 200 OK\nContent-Type: application/'),
          contents(target))
    with open(target, 'w+b') as file:
        await client.call('ping_pong', 'ball', 1, call_reply_to=file)
    wait_for(lambda: contents(target).endswith(b'0\r\n\r\n'), 'a stream in a file')
    stream = contents(target)
    check(name + 'call_reply_to a file with a stream', stream.startswith(b'HTTP/1.1 200 OK\n') and
          b'I am milton, I am keeping ball' in stream, stream)


def our_descriptors(state, text, encoding, name):
    target = os.path.join(state, 'target')
    calls = [['send', 'cat', [text]], ['fetch', 'read', [text]], ['fetch', 'read', [text + '.missing']],
             ['to_file', 'ping_pong', [target, 'ball']]]
    cat, read, missing, replied = ours('filecat', 'milton', state, calls, 'unix', encoding)
    equal(name + 'cat(file)', cat, {'result': b'what a cat reads\n\x00\xff'})
    equal(name + 'read(path)', read, {'result': b'what a cat reads\n\x00\xff'})
    check(name + 'read(path) of a file that is not there', missing.get('status', 0) >= 400, missing)
    equal(name + 'reply_to(file)', replied, {'result': {'replied_to_first_fd': True}})
    wait_for(lambda: contents(target).endswith(b'0\r\n\r\n'), 'a stream in a file')
    check(name + 'reply_to(file) has the answer', b'I am milton, I am keeping ball' in contents(target),
          contents(target))


async def over_tcp(client, text, service):
    name = 'Python client, %s filecat, TCP: ' % service
    error = await client.call('read', text)
    check(name + 'read(path) fails', isinstance(error, (RuntimeError, ValueError)) and 'TCP' in str(error), error)


def contents(path):
    with open(path, 'rb') as file:
        return file.read()


# ---- answers that are passed on

ROUNDS = 50


def ping_pong():
    for first, second in (('Python', 'our'), ('our', 'our')):
        state = folder()
        with filecat(first, 'milton', state) as milton, filecat(second, 'meowzer', state) as meowzer:
            for one, other in (('milton', 'meowzer'), ('meowzer', 'milton')):
                equal('%s play_with %s' % (one, other),
                      asyncio.run(Client('filecat', one, state).call('play_with', other)), True)
            before = [milton.descriptors(), meowzer.descriptors()]
            for start, other, name in (('milton', 'meowzer', '%s worker first, then %s: ' % (first, second)),
                                       ('meowzer', 'milton', '%s worker first, then %s: ' % (second, first))):
                if first != second or start == 'milton':
                    games(state, start, other, name)
            settled('%s worker of two' % first, milton, before[0])
            settled('%s worker of two' % second, meowzer, before[1])


def filecat(language, worker, state):
    if language == 'our':
        return Ours('filecat', worker, state, '--worker-secret=SECRET')
    return Theirs('FileCat', 'filecat', worker, state, '--worker-secret=SECRET')


def games(state, start, other, name):
    players = [start, other]
    expected = ['I am %s, sending ball back!' % players[i % 2] for i in range(ROUNDS - 1)]
    expected.append('I am %s, I am keeping ball' % players[(ROUNDS - 1) % 2])
    for over, encoding in WAYS:
        client = Client('filecat', start, state, over, encoding)
        equal(name + 'Python client, %s, %s: %d items in order' % (over, encoding, ROUNDS),
              asyncio.run(client.call('ping_pong', 'ball', ROUNDS)), expected)
        outcome = ours('filecat', start, state, [['stream', 'ping_pong', ['ball', ROUNDS]]], over, encoding)
        equal(name + 'our client, %s, %s: %d items in order' % (over, encoding, ROUNDS), outcome,
              [{'items': expected}])


# ---- recordings

def recordings():
    """What is in recorded/ is what the package does, in the version that was recorded."""
    if kettlingar.__version__ != '0.0.4':
        print('     not compared: the recordings are those of 0.0.4, this is ' + kettlingar.__version__)
        return
    target = folder()
    code, _, errors = ran(sys.executable, os.path.join(HERE, 'record.py'), target)
    check('record.py makes recordings', code == 0, errors[-300:])
    kept = {name for name in os.listdir(os.path.join(HERE, 'recorded')) if name.endswith(('.request', '.answer'))}
    equal('recordings of the same names', sorted(os.listdir(target)), sorted(kept))
    # Two processes write those; where the zero chunks stand depends on which one is faster.
    loose = {'delegated.answer', 'delegated_json.answer'}
    wrong = [name for name in sorted(kept - loose)
             if contents(os.path.join(HERE, 'recorded', name)) != contents(os.path.join(target, name))]
    check('recordings are what the package sends', not wrong, wrong)


SECTIONS = {
    'kitten': python_calls_kitten, 'command_line': we_call_kitten, 'odd': odd_answers, 'values': values_everywhere,
    'descriptors': descriptors, 'ping_pong': ping_pong, 'recordings': recordings}


def too_long(*_arguments):
    raise TimeoutError('the section takes too long')


def interrupted(number, _frame):
    sys.exit(128 + number)


def main(names):
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit('no such section: %s; there are: %s' % (' '.join(unknown), ' '.join(SECTIONS)))
    atexit.register(clean_up)
    signal.signal(signal.SIGALRM, too_long)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    for name in names or SECTIONS:
        signal.alarm(SECTION)
        try:
            SECTIONS[name]()
        except Exception as error:  # pylint: disable=broad-exception-caught
            check('section ' + name, False, '%s: %s' % (type(error).__name__, error))
        signal.alarm(0)
        clean_up()
    print('%d passed, %d failed' % (passed, failed))
    sys.exit(failed != 0)


if __name__ == '__main__':
    main(sys.argv[1:])
