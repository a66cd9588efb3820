#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes table.jsonl: what Python's `format % values` makes of formats, for tests/unit/cli_python_format.cpp.

A line is [format, values, result], the result null where Python raises. What JSON has no word for is
{"__float__": "nan"} and {"__base64__": "..."}. Run it with Python 3.11 or newer: python3 generate.py >table.jsonl
"""
import base64
import json
import random

COUNT = 700

VALUES = {
    'n': 42, 'neg': -42, 'zero': 0, 'big': 2**64 - 1, 'low': -2**63, 'huge': 3**100, 'neghuge': -2**70 - 5,
    'vast': 10**400, 'x': 3.14159, 'tiny': 1.5e-7, 'large': 1e22, 'half': 2.5, 'minus': -0.0, 'whole': 7.0,
    'edge': 0.0001, 'low_edge': 0.00001, 'sixteen': 1e16, 'below': 123456789012345.6, 'max': 1.7976931348623157e308,
    'least': 5e-324, 'nan': float('nan'), 'inf': float('inf'), 'ninf': float('-inf'),
    'none': None, 'yes': True, 'no': False, 's': 'purr', 'e': '', 'h': 'hé', 'wide': '日本語', 'cat': '🐈',
    'quote': "it's", 'both': '"it\'s"', 'lines': 'a\n\tb\r\\', 'odd': '\x00\x1b\x7f\x9b\xa0\xad\u200b\u2028\ufeff\ue000',
    'one': 'ö', 'bytes': b"\x00'\xff\n", 'list': [1, 'a', None, True, 2.0, [b'x']], 'nothing': [], 'map': {'k': 'v', 'w': {}},
    'a(b)c': 'parentheses', '': 'empty name', 'p%': 'percent',
}

CURATED = [
    # As people write them.
    '%(s)s has %(n)d', 'load %(x).2f', '100%% of %(s)s', '%%', '%(n)s%%', 'plain', '', '%(s)10s|%(s)-10s|', '%(n)05d|%(n)-5d|',
    '%(x)8.3f|%(x)-8.1f|%(x)08.2f|', '%(n)x %(n)X %(n)#x %(n)#X %(n)o %(n)#o', '%(neg)x %(neg)#x %(neg)o %(neg)#010x',
    '%(h).1s|%(h)4s|%(h)-4s|', '%(wide).2s|%(wide)5s|%(wide)-5s|', '%(cat)3s|%(cat).0s|', '%(s).2s|%(s)7.2s|%(s)-7.2s|',
    '%(big)d %(big)x %(big).30d %(huge)d %(huge)x %(huge)#o', '%(neghuge)d %(neghuge)x %(neghuge)+d %(neghuge).40d',
    '%(none)s %(yes)s %(no)s', '%(yes)d %(no)d %(yes)x %(yes)o %(yes)f %(no)05d', '%(nan)f %(inf)f %(ninf)f %(nan)F %(inf)G %(ninf)E',
    '%(nan)5.1f|%(inf)-7f|%(ninf)010f|%(nan)+f|%(inf) f', '%(x)s %(whole)s %(large)s %(tiny)s %(sixteen)s %(below)s %(minus)s',
    '%(edge)s %(low_edge)s %(max)s %(least)s %(half)s', '%(x)r %(s)r %(quote)r %(both)r %(lines)r', '%(odd)r', '%(odd)a',
    '%(wide)a %(cat)a %(one)a %(h)r', '%(bytes)s %(bytes)r %(bytes)a', '%(list)s %(nothing)s %(map)s', '%(list)a', '%(map).5s|%(list)40s|',
    '%(list).0s|%(map).1r|', '%(n)c %(one)c %(cat)c', '%(one)5c|%(one)-5c|%(n)05c|%(one).0c|', '%(n)i %(n)u %(neg)u',
    '%(x)d %(neg)d %(whole)d %(large)d %(max)d', '%(minus)d %(minus)f %(minus)e %(minus)g %(minus)+d', '%(x)e %(x)E %(x)g %(x)G',
    '%(large)g %(tiny)g %(sixteen)g %(zero)g %(half).0f %(half).0e', '%(x)#.0f %(x)#.0e %(whole)#g %(zero)#g %(large)#g %(tiny)#.3G',
    '%(max).3f', '%(least).10e %(least).1100f', '%(x).400f', '%(x).50e', '%(n)f %(n)e %(n)g %(big)f %(huge)g %(neghuge).2e',
    '%(a(b)c)s', '%()s', '%(p%)s', '%(n)ld %(n)hd %(n)Ld', '%(n)+d % d', '%(n)+d|%(n) d|%(n)+ d|%(neg)+d|%(neg) d|',
    '%(n)-+8d|%(n)0+8d|%(n)-08d|%(n)#-8x|%(n)#08x|', '%(n)+s|%(s)+5s|%(s)05s|%(s)#s|', '%(n).5d|%(n)8.5d|%(n)-8.5d|%(n)08.5d|',
    '%(neg).5d|%(neg)+.5x|%(n)#.5x|%(n)#10.5o|', '%(s)600s', '%(n)0600d', '%(n).600d', '%(x)600.300f', '%(n)s %(n)r %(n)a', '%(n)10s|%(n).1s|',
    '%5%|%-5%|%05%|%.3%|%+%', '%s', '%r', '%a', '%-s', '%.3s|', '%s %(n)d', '%(n)d %s', '%(n)*%', '%(n)*d', '%*d', '%.*f', '%(n).*%', '%(neg)*%',
    # What Python refuses.
    '%', 'a %', '%(', '%(s', '%(s)', '%(s)5', '%(s)5.', '%(s)l', '%(s)-', '%((s)s', '%(missing)s', '%(S)s', '%(s)d', '%(s)x', '%(s)f', '%(none)d',
    '%(none).2f', '%(none)c', '%(list)d', '%(map)f', '%(bytes)d', '%(nan)d', '%(inf)d', '%(x)x', '%(x)o', '%(x)X', '%(x)c', '%(whole)x',
    '%(vast)f', '%(s)c', '%(e)c', '%(neg)c', '%(big)c', '%(huge)c', '%d', '%f', '%c', '%x', '%y', '%(n)y', '%(n)b', '%(s)q', '%(n)!d', '%(n)\nd',
    '%(n)5.5.5d', '%(n)lld', '%(n)d %', '%(_format)s', '%(n)ds%(s)', '%(n) %(s)s', '%(s)s %d', '%(s)é', '%(surrogate)c',
]


def in_json(value):
    if isinstance(value, float) and (value != value or value in (float('inf'), float('-inf'))):
        return {'__float__': repr(value)}
    if isinstance(value, bytes):
        return {'__base64__': base64.b64encode(value).decode('ascii')}
    if isinstance(value, list):
        return [in_json(item) for item in value]
    if isinstance(value, dict):
        return {key: in_json(item) for key, item in value.items()}
    return value


def formatted(form, values):
    try:
        text = form % values
        text.encode('utf-8')  # what cannot be printed is no result
        return text
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def formats():
    yield from CURATED
    # One value for each of the conversions in all of their flags, then some of everything.
    for conversion, name in ('d', 'neg'), ('x', 'n'), ('X', 'neg'), ('o', 'n'), ('f', 'x'), ('e', 'tiny'), ('g', 'large'), ('s', 'h'):
        for flags in '', '0', '-', '+', ' ', '#', '-0', '+0', ' 0', '#0', '#-', '+#0':
            yield '%%(%s)%s9.3%s|' % (name, flags, conversion)
    random.seed(29)
    names = list(VALUES)
    while True:
        name = random.choice(names)
        number = isinstance(VALUES[name], (int, float)) or random.random() < 0.2
        yield '%%(%s)%s%s%s%s|' % (
            name,
            ''.join(random.sample('-+ #0', random.choice((0, 0, 1, 1, 2, 3)))),
            random.choice(('', '', '1', '4', '12', '25')),
            random.choice(('', '', '.', '.0', '.1', '.3', '.7', '.20')),
            random.choice('sssrraddiuoxXeEfFgGgc' if number else 'sra'))


def main():
    seen = set()
    for form in formats():
        if form in seen:
            continue
        seen.add(form)
        names = [name for name in VALUES if '(%s)' % name in form]
        values = {name: VALUES[name] for name in names}
        if '%(surrogate)' in form:
            values['surrogate'] = 0xD800
        if '%' in form and not names and '(' not in form:
            values = {'n': 42, 's': "it's"}
        print(json.dumps([form, in_json(values), formatted(form, values)]))
        if len(seen) == COUNT:
            break


main()
