# SPDX-License-Identifier: MIT
"""record.py: writes down what a client and services of the Python package send, byte by byte.

    record.py FOLDER      makes NAME.request and NAME.answer in FOLDER; see recorded/README.md

The token is SECRET. What services say in `traceback` is replaced by a fixed text: it would depend on where the package
is installed.
"""
import array
import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

from kettlingar import RPCKitten

import services

PATIENCE = 30
SECRET = 'SECRET'


class Caller(RPCKitten):
    """A client that knows no methods of its own."""

    class Configuration(RPCKitten.Configuration):
        APP_NAME = 'interop'
        WORKER_NAME = 'listener'
        WORKER_LOG_LEVEL = 50


# ---- what clients send

class Listener:
    """Takes calls to a service that does not exist, and answers all of them in the same way."""

    ANSWER = (b'HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 33\nConnection: close\n\n'
              b'{"pong": true, "methods": {}}   \n')

    def __init__(self, folder, worker):
        self.calls = []
        self.tcp = socket.create_server(('127.0.0.1', 0))
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(os.path.join(folder, worker + '.sock'))
        self.local.listen()
        with open(os.path.join(folder, worker + '.url'), 'w', encoding='utf-8') as file:
            os.chmod(file.name, 0o600)
            file.write('http://127.0.0.1:%d/%s' % (self.tcp.getsockname()[1], SECRET))

    def serve(self, listener):
        """One call: (bytes, number of descriptors)."""
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            request, descriptors = b'', []
            while not complete(request):
                block, came = receive(connection)
                if not block:
                    break
                request += block
                descriptors += came
            for fd in descriptors:
                os.close(fd)
            self.calls.append((request, len(descriptors)))
            connection.sendall(self.ANSWER)

    async def answer(self, over_unix):
        listener = self.local if over_unix else self.tcp
        listener.settimeout(PATIENCE)
        await asyncio.get_running_loop().run_in_executor(None, self.serve, listener)


def complete(request):
    head, blank, body = request.partition(b'\n\n')
    lengths = [line for line in head.split(b'\n') if line.startswith(b'Content-Length: ')]
    return bool(blank) and len(body) >= (int(lengths[0].split()[1]) if lengths else 0)


def receive(connection):
    """recv() with descriptors."""
    block, extras, _, _ = connection.recvmsg(65536, 4096)
    fds = array.array('i')
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data)
    return block, list(fds)


async def requests(folder, state):
    listener = Listener(state, 'listener')
    words = ['--app-state-dir=' + state, '--app-data-dir=' + state]

    async def record(name, call, over_unix=False):
        answering = asyncio.create_task(listener.answer(over_unix))
        result = await call
        if hasattr(result, '__call__'):
            async for _item in result():
                pass
        await answering
        save(folder, name + '.request', *listener.calls[-1])

    tcp = Caller(args=words)
    await record('connect', tcp.connect(retry=0))
    local = Caller(args=words + ['--worker-use-tcp=n'])
    await record('connect_unix', local.connect(retry=0), True)
    plain = Caller(args=words + ['--worker-use-msgpack=n', '--worker-use-tcp=n'])
    await record('connect_json', plain.connect(retry=0), True)
    await record('ping_docs', tcp.ping(docs=True))
    await record('meow', local.call('meow'), True)
    await record('meow_json', plain.call('meow'), True)
    await record('purr', local.call('purr', '0x2', caps='y'), True)
    await record('purr_json', plain.call('purr', '0x2', caps='y'), True)
    await record('elephant', local.call('purr', 'elephant'), True)
    await record('freakout', local.call('freakout'), True)
    await record('unknown', local.call('no_such_method', 1), True)
    values = [None, True, -1, 2**64 - 1, 2**64, -2**63 - 1, 2**200, 1.5, 'K\u00e4tzchen \U0001f408', b'\x00\xff', b'',
              '', [], {}, {'a': [{'b': None}]}]
    await record('echo', local.call('echo', values), True)
    await record('echo_json', plain.call('echo', values), True)
    with open(os.path.join(state, 'file'), 'w+b') as file:
        await record('cat', local.call('cat', file), True)
        await record('cat_json', plain.call('cat', file), True)
        await record('to_file', local.call('meow', call_reply_to=file), True)
        await record('to_file_json', plain.call('meow', call_reply_to=file), True)
    here, there = socket.socketpair()
    with here, there:
        await record('to_socket', local.call('purr', '0x2', caps='y', call_reply_to=there), True)
        await record('to_socket_json', plain.call('purr', '0x2', caps='y', call_reply_to=there), True)
    await record('quitquitquit', local.quitquitquit(), True)


def delegated(folder, state):
    """What a worker sends when it passes its caller on to another one."""
    listener = Listener(state, 'meowzer')
    with Service('FileCat', state) as milton:
        for suffix, pack in (('', False), ('_json', True)):
            calls = [('play_with', ['meowzer'], False), ('ping_pong', ['ball', 3], True)]
            for method, arguments, over_unix in calls:
                connection = milton.connect(tcp=True)
                connection.sendall(post(method, arguments, pack))
                listener.serve(listener.local if over_unix else listener.tcp)
                if over_unix:
                    save(folder, 'delegated' + suffix + '.request', *listener.calls[-1])
                everything(connection)


# ---- what services send

class Service:
    """A service of services.py in another process."""

    def __init__(self, name, state, *words):
        self.state = state
        self.worker = getattr(services, name).Configuration.WORKER_NAME
        for word in words:
            if word.startswith('--worker-name='):
                self.worker = word.split('=')[1]
        words = ['--app-state-dir=' + state, '--app-data-dir=' + state, '--worker-secret=' + SECRET,
                 '--worker-log-level=60', *words]
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), 'serve', name, *words],
                                        stdout=subprocess.PIPE, start_new_session=True)
        if self.process.stdout.readline() != b'ready\n':
            raise RuntimeError(name + ' does not start')

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def connect(self, tcp=False):
        if tcp:
            with open(os.path.join(self.state, self.worker + '.url'), encoding='utf-8') as file:
                host, port = file.read().split('/')[2].split(':')
            return socket.create_connection((host, int(port)), PATIENCE)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(os.path.join(self.state, self.worker + '.sock'))
        return connection

    def answer(self, request, fds=(), tcp=False):
        with self.connect(tcp) as connection:
            extras = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
            connection.sendmsg([request], extras)
            return everything(connection)


def everything(connection):
    """(bytes, number of descriptors) up to the end of the connection."""
    answer, descriptors = b'', 0
    while True:
        try:
            block, came = receive(connection)
        except ConnectionResetError:
            break
        for fd in came:
            os.close(fd)
        descriptors += len(came)
        if not block:
            break
        answer += block
    return answer, descriptors


def post(method, arguments=(), as_json=False, token=SECRET, **named):
    """A call as the package's clients write it."""
    named['_args'] = list(arguments)
    body = (Caller.to_json if as_json else Caller.to_msgpack)(None, named)
    path = '/'.join(['', token, method] if token else ['', method])
    return b'POST %s HTTP/1.1\nConnection: close\nContent-Type: %s\nContent-Length: %d\n\n%s' % (
        path.encode(), b'application/json' if as_json else b'application/x-msgpack', len(body), body)


def answers(folder, state):
    def record(service, name, request, fds=(), tcp=False):
        save(folder, name + '.answer', *service.answer(request, fds, tcp))

    with Service('Kitten', state, '--sleep-time=0') as kitten:
        record(kitten, 'meow', post('meow'))
        record(kitten, 'purr', post('purr', ['0x2'], caps='y'))
        record(kitten, 'purr_json', post('purr', ['0x2'], True, caps='y'))
        record(kitten, 'both', post('both'))
        record(kitten, 'elephant', post('purr', ['elephant']))
        record(kitten, 'freakout', post('freakout'))
        record(kitten, 'freakout_json', post('freakout', (), True))
        record(kitten, 'unknown', post('no_such_method'))
        record(kitten, 'stranger', post('purr', token=''))
        record(kitten, 'ping_stranger', post('ping', token=''))
        with tempfile.TemporaryFile() as target:
            record(kitten, 'accepted', post('meow', ['_FD_BRE_MAGIC_-rb+'], reply_to_first_fd=0), [target.fileno()])
        here, there = socket.socketpair()
        kitten.answer(post('purr', ['_SO_BRE_MAGIC_-1-1-0', 2], reply_to_first_fd=0), [there.fileno()])
        there.close()
        here.settimeout(PATIENCE)
        save(folder, 'to_socket.answer', *everything(here))
        here.close()
    with Service('Echo', state) as echo:
        record(echo, 'ping', post('ping'))
        record(echo, 'ping_json', post('ping', (), True))
    with Service('Odd', state) as odd:
        for method in ('values', 'nothing', 'empty_bytes', 'document', 'other_status', 'error_map', 'no_items', 'breaks',
                       'events', 'raw_items', 'finished_first'):
            record(odd, method, post(method))
        for method in ('values', 'nothing', 'empty_bytes', 'no_items', 'breaks'):
            record(odd, method + '_json', post(method, (), True))
        for method in ('fails', 'missing', 'denies', 'asks', 'asks_first', 'moved', 'breaks_at_once', 'vanishes'):
            record(odd, method, post(method, token=''))
        paths = [os.path.abspath(__file__)] * 2
        record(odd, 'two_files', post('two_files', paths))
        record(odd, 'two_files_tcp', post('two_files', paths), tcp=True)
    with Service('FileCat', state) as milton, Service('FileCat', state, '--worker-name=meowzer') as meowzer:
        milton.answer(post('play_with', ['meowzer']))
        meowzer.answer(post('play_with', ['milton']))
        record(milton, 'delegated', post('ping_pong', ['ball', 5]), tcp=True)
        record(meowzer, 'delegated_json', post('ping_pong', ['ball', 5], True))


# ---- all of it

def save(folder, name, data, descriptors):
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(data)
    print('%-26s %5d bytes%s' % (name, len(data), ', %d descriptors' % descriptors if descriptors else ''))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    state = tempfile.mkdtemp(prefix='kettlingar.')
    try:
        asyncio.run(requests(folder, state))
        delegated(folder, state)
        answers(folder, state)
    finally:
        shutil.rmtree(state)


def serve(name, words):
    traceback.format_exc = lambda *_arguments: 'Traceback (most recent call last):\n  ...\n'
    asyncio.run(services.run(getattr(services, name)(args=words)))


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2], sys.argv[3:])
    else:
        main(sys.argv[1])
