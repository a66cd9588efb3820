# SPDX-License-Identifier: MIT
"""services.py: services of the Python package, for clients of this library to call.

    services.py CLASS [--worker-name=NAME ...]    runs one; prints `ready` when it answers, ends when it is told to stop
"""
import asyncio
import gc
import os
import sys
import time

from kettlingar import HttpResult, RPCKitten


class Watched(RPCKitten):
    """A service that says which process it is."""

    async def api_pid(self, _request):
        """Where to count descriptors; closes those which only wait for the garbage collector."""
        gc.collect()
        return os.getpid()


class Kitten(Watched):
    """The methods of examples/kitten.cpp."""

    class Configuration(RPCKitten.Configuration):
        APP_NAME = 'mykitten'
        WORKER_NAME = 'Kitty'
        SLEEP_TIME = 1.0

    async def public_api_web_root(self, _request):
        return HttpResult('text/html', '<h1>Meow</h1>')

    async def public_api_meow(self, _request):
        """Meow, as a document."""
        return HttpResult('text/plain', 'Meow world, meow!\n')

    async def public_api_slow_meow(self, _request, delay: float = None):
        await asyncio.sleep(delay or 0)
        return HttpResult('text/plain', 'Meow world, meow after %.2fs!\n' % (delay or 0))

    async def public_api_blank(self, _request):
        return HttpResult('image/gif', b'GIF89a\x01\x00\x01\x00\x80\xff;')

    async def api_purr(self, _request, count: int = 1, purr: str = 'purr', caps: bool = False):
        """Louder each time."""
        sound = purr.upper() if caps else purr
        for i in range(1, count + 1):
            yield {'purr': sound * i, '_format': self.config.worker_name + ' says %(purr)s'}
            await asyncio.sleep(self.config.sleep_time)

    async def api_both(self, request):
        yield 'Meow world, meow!\n'
        async for item in self.api_purr(request, 2):
            yield item

    async def api_freakout(self, _request):
        raise RuntimeError('Nothing is good enough for me!')

    async def api_stretch(self, _request):
        return HttpResult('text/plain', 'Streeeeeeeetch!\n')

    async def api_binary_result(self, _request):
        return {'binary': b'data'}


class Odd(Watched):
    """All kinds of answers that are not just a value."""

    class Configuration(RPCKitten.Configuration):
        APP_NAME = 'interop'
        WORKER_NAME = 'odd'

    async def api_values(self, _request):
        return {'text': 'K\u00e4tzchen \U0001f408', 'bytes': b'\x00\xff', 'none': None, 'truth': True, 'pi': 3.25,
                'list': [1, [], {}], 'most': 2**64 - 1, 'least': -2**63, 'big': 2**64, 'bigger': 2**200,
                'below': -2**63 - 1}

    async def api_nothing(self, _request):
        return None

    async def api_empty_bytes(self, _request):
        return b''

    async def api_document(self, _request):
        return HttpResult('image/gif', b'GIF89a\x00\n\xff')

    async def api_other_status(self, _request):
        return HttpResult('text/plain', 'short and stout\n', http_code=418)

    async def api_error_map(self, _request):
        return {'error': 'a result with this key', 'more': 1}

    async def public_api_fails(self, _request):
        raise ValueError('no luck today')

    async def public_api_missing(self, _request):
        raise FileNotFoundError('nothing of that name')

    async def public_api_denies(self, _request):
        raise PermissionError('not for you')

    async def public_api_asks(self, _request):
        variable = {'name': 'user', 'type': 'username', 'comment': 'Login'}
        raise self.NeedInfoException('Who are you?', [variable], resource='door')

    async def public_api_moved(self, _request):
        raise self.RedirectException('/elsewhere')

    async def api_no_items(self, _request):
        for item in ():
            yield item

    async def api_breaks(self, _request):
        yield {'item': 1}
        yield {'item': 2}
        raise ValueError('that was all')

    async def public_api_breaks_at_once(self, _request):
        raise ValueError('not even one')
        yield  # pylint: disable=unreachable

    async def public_api_vanishes(self, _request):
        raise FileNotFoundError('no answer at all')
        yield  # pylint: disable=unreachable

    async def public_api_asks_first(self, _request):
        raise self.NeedInfoException('Who are you?', [{'name': 'pin', 'type': 'password'}])
        yield  # pylint: disable=unreachable

    async def api_finished_first(self, _request):
        yield {'finished': 403, 'error': 'closed today'}

    async def api_events(self, _request):
        yield self.sse_start_result({'event': 'hello', 'data': 'two\nlines'})
        yield {'id': 5, 'retry': 100, 'data': {'k': 1}}
        yield {'a': 1}

    async def api_raw_items(self, _request):
        yield HttpResult('text/plain', 'one\n')
        yield 'two\n'

    async def api_two_files(self, _request, first, second):
        return self.fds_result([open(first, 'rb'), open(second, 'r', encoding='utf-8')])


class FileCat(Watched):
    """The methods of examples/filecat.cpp."""

    class Configuration(RPCKitten.Configuration):
        APP_NAME = 'filecat'
        WORKER_NAME = 'milton'

    other = None

    async def api_cat(self, _request, fd):
        with fd:
            return fd.read()

    async def api_read(self, _request, path):
        return self.fds_result(open(path, 'rb'))

    async def api_play_with(self, _request, other_worker_name):
        words = ['--app-state-dir=' + self.config.app_state_dir, '--worker-name=' + other_worker_name]
        self.other = await FileCat(args=words).connect()
        return True

    async def api_ping_pong(self, request, ball: str, count: int = 5):
        me = 'I am ' + self.config.worker_name
        if count < 2 or self.other is None:
            yield '%s, I am keeping %s' % (me, ball)
            return
        yield '%s, sending %s back!' % (me, ball)
        await self.other.call('ping_pong', ball, count - 1, call_reply_to=request)


class Echo(Watched):
    """Gives back what it gets; the methods of peer.cpp."""

    class Configuration(RPCKitten.Configuration):
        APP_NAME = 'interop'
        WORKER_NAME = 'echo'

    async def api_echo(self, _request, value):
        return value

    async def api_stream(self, _request, values):
        for value in values:
            yield value

    async def api_length(self, _request, data):
        return len(data)


async def run(kitten):
    """Starts the service; patient, for its own client gives up after a quarter of a second."""
    end = time.monotonic() + 30
    start = True
    while True:
        try:
            await kitten.connect(auto_start=start)
            break
        except kitten.NotRunning:
            start = False
            if time.monotonic() > end:
                raise
    print('ready', flush=True)


if __name__ == '__main__':
    # The service is a child of this process, which waits for its end.
    asyncio.run(run(globals()[sys.argv[1]](args=sys.argv[2:])))
