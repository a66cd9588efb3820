#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the first inputs of the fuzz targets, by hand and named: seeds.py FOLDER. `run merge` makes corpora of them."""
import pathlib
import struct
import sys

FOLDER = pathlib.Path(sys.argv[1])


def put(target, name, data):
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def number(seeds):
    return {f"{i:03}": seed for i, seed in enumerate(seeds)}.items()


# ---- heads and bodies. Two bytes in front: options, a seed for the cuts.

LF_CALL = (b"POST /token/fn HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"
           b"Content-Length: 1\n\n\x80")
LINES = [
    b"GET /ping HTTP/1.1", b"GET /ping?x=1 HTTP/1.1", b"GET /p%41th HTTP/1.0", b"HEAD / HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"POST http://[::1]:80/a HTTP/1.1", b"GET http://host?q HTTP/1.1", b"GET /%00 HTTP/1.1", b"GET /%zz HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"GET  / HTTP/1.1", b"GET /", b"GET / HTTP/1.2", b"GET / HTTP/2.0", b"PRI * HTTP/2.0",
    b"G@T / HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET * HTTP/1.1", b"GET ftp://x/ HTTP/1.1", b"GET http://u@h/ HTTP/1.1",
    b"A" * 33 + b" / HTTP/1.1", b"\x16\x03\x01", b"GET / HTTP/1.1\rX", b"GET /" + b"a" * 60 + b" HTTP/1.1",
]
FIELDS = [
    b"Host: localhost:1", b"Host: [::1]:1", b"Host: a b", b"Host: h:123456", b"Host:", b"Host: [::1", b"Host: [x]y",
    b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 6",
    b"Content-Length: 9223372036854775808", b"Content-Length: 99999999999999999999", b"Content-Length:",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked ", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: gzip, chunked", b"Content-Length: 1\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 1", b"Connection: foo, CLOSE", b"Connection: keep-alive",
    b"Content-Type: application/json", b"Content-Type: a\r\nContent-Type: b", b"Authorization: Bearer token",
    b"Origin: http://localhost", b"Sec-Fetch-Site: cross-site", b"Expect: 100-continue", b"Expect: x", b"X : y",
    b"X: y\r\n folded", b": empty", b"no colon", b" space: first", b"X: \x00", b"X: a\rb", b"X: \xe9\t ok \t ",
    b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5", b"X: " + b"y" * 150, b"X: y\nZ: mixed",
]
requests = [b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\r\n" * 5, b"\n\nGET / HTTP/1.1\n\n", LF_CALL,
            LF_CALL.replace(b"Connection: close", b"Transfer-Encoding: chunked"), b"GET / HTTP/1.1\r\n\nX", b""]
requests += [line + b"\r\n\r\n" for line in LINES]
requests += [b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\nrest" for field in FIELDS]
requests += [b"POST / HTTP/1.0\r\n" + FIELDS[i] + b"\r\n\r\n" for i in (14, 20, 21, 27)]
for name, request in number(requests):
    put("req_parse", name, b"\0\1" + request)
    put("req_parse", "small" + name, b"\1\2" + request)
put("req_parse", "no_lf", b"\2\1" + LF_CALL)

bodies = [
    b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"000000000000005\r\nhello\r\n000\r\n\r\n", b"1\r\na\r\n2\r\nbc\r\n0;a\r\n\r\n",
    b"1;a=b;c=\"q\\\"q\";d\r\nx\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\nrest", b"5;\r\n", b"5;a=\r\n", b"5;a=\"\x01\"\r\n",
    b"5;a=\"b\"c\r\n", b"5;a=\"\\\x01\r\n", b"5 \r\n", b" 5\r\n", b"0x5\r\n", b"+5\r\n", b"-2\r\n", b"\r\n", b"g\r\n", b"5\n",
    b"5\rX", b"80000000\r\n", b"FFFFFFFFFFFFFFFE\r\n", b"00000000000000001\r\n", b"1\r\naXX", b"1\r\na\r\rX", b"1\r\na\n",
    b"0\n\n", b"0\r\nX:GET /ping HTTP/1.1\r\nHost: h\r\n\r\n", b"0\r\nX y\r\n\r\n", b"1;" + b"a" * 300 + b"\r\n",
    b"1;aaaaaaaaaaaa\r\nx\r\n" * 20 + b"0\r\n\r\n", b"7fffffff\r\n", b"60\r\n" + b"x" * 96 + b"\r\n1\r\nx\r\n0\r\n\r\n",
    b"0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", b"0\r\na: " + b"1" * 60 + b"\r\n\r\n", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
]
for name, body in number(bodies):
    put("chunked", name, b"\0\1" + body)
    put("chunked", "small" + name, b"\1\2" + body)

OK = b"HTTP/1.1 200 OK\r\n"
answers = [
    OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n7\n", OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n{\"a\": 1}",
    OK + b"Content-Type: application/x-msgpack\r\nContent-Length: 1\r\n\r\n\x80",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: application/x-msgpack\n\n1\r\n\x01\r\n0\r\n\r\n1\r\n\x02\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b"2\r\n1\n\r\n11\r\n{\"error\": \"over\"}\r\n2\r\n3\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n11\r\n{\"error\": \"over\"}\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n11\r\n{\"error\": \"over\"}\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nG", OK + b"Content-Type: application/json\r\n\r\n{\"error\": \"no\"}",
    b"0\r\n\r\n", b"0\r\n\r\nX", b"0\r\n\r\n0\r\n\r\n", b"0\r", OK + b"Content-Type: text/plain; charset=utf-8\r\n\r\nhej \xc3\xa9",
    OK + b"Content-Type: image/png\r\n\r\n\x89PNG", OK + b"Content-Type: application/json\r\n\r\n{",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 16\r\nContent-Type: application/json\r\n\r\n{\"error\": \"gone\"",
    b"HTTP/1.1 404\r\n\r\n", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 500 Oh\r\n\r\n<html>",
    b"HTTP/1.1 302 Found\r\nContent-Type: application/json\r\n\r\n{\"redirect\": \"/x\"}",
    b"HTTP/1.1 423 Locked\r\nContent-Type: application/json\r\n\r\n{\"error\":\"e\",\"resource\":1,\"needed_vars\":"
    b"[{\"name\":\"a\",\"type\":\"user\",\"comment\":\"c\",\"default\":1},{\"name\":5},3]}",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 100\r\n\r\n" * 12, b"HTTP/1.1 101\r\n\r\n",
    b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 600 X\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"HTTP/1.1 200X\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\nbehind", b"<html>", b"HTTP/1.1 200 " + b"x" * 60 + b"\r\n\r\n",
    OK + b"Content-Length: 200\r\n\r\n", OK + b"\r\n" + b"x" * 120, OK + b"X: y\r\n" * 5 + b"\r\n", OK, b"",
    b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]
for name, answer in number(answers):
    put("resp_parse", name, b"\0\1" + answer)
    put("resp_parse", "small" + name, b"\1\2" + answer)

# ---- values

values = [bytes([tag]) + tail for tag, tail in (
    (0x00, b""), (0x7F, b""), (0x80, b""), (0x81, b"\xa1a\x01"), (0x82, b"\xa1a\x01\xa1a\x02"), (0x81, b"\x01\x01"),
    (0x81, b"\xc4\x01a\x01"), (0x90, b""), (0x92, b"\x01\x02"), (0xA0, b""), (0xA2, b"\xc3\xa9"), (0xA1, b"\xff"), (0xC0, b""),
    (0xC1, b""), (0xC2, b""), (0xC3, b""), (0xC4, b"\x02ab"), (0xC5, b"\x00\x01a"), (0xC6, b"\x00\x00\x00\x01a"),
    (0xC6, b"\xff\xff\xff\xff"), (0xC7, b"\x03\x05abc"), (0xC8, b"\x00\x01\x05a"), (0xC9, b"\x00\x00\x00\x00\x05"),
    (0xC7, b"\x11\x01" + b"1" + b"0" * 16), (0xC7, b"\x12\x01-8000000000000001x"), (0xC7, b"\x11\x01-8000000000000000"[:19]),
    (0xC7, b"\x04\x010xFf"), (0xC7, b"\x02\x01-1"), (0xC7, b"\x01\x01-"), (0xC7, b"\x12\x01-8000000000000001"[:20]),
    (0xC7, b"\x0c\xff" + struct.pack(">Iq", 999999999, -1)), (0xC7, b"\x0c\xff" + struct.pack(">Iq", 1000000000, 1)),
    (0xCA, struct.pack(">f", 1.5)), (0xCA, b"\x7f\xc0\x00\x00"), (0xCB, struct.pack(">d", -0.0)), (0xCB, struct.pack(">d", 1e300)),
    (0xCB, struct.pack(">d", 1e-5)), (0xCB, struct.pack(">d", float("inf"))), (0xCC, b"\xff"), (0xCD, b"\xff\xff"),
    (0xCE, b"\xff" * 4), (0xCF, b"\x80" + b"\0" * 7), (0xD0, b"\x80"), (0xD0, b"\x05"), (0xD1, b"\x80\x00"), (0xD2, b"\x80" + b"\0" * 3),
    (0xD3, b"\x80" + b"\0" * 7), (0xD4, b"\x05a"), (0xD5, b"\x05ab"), (0xD6, b"\xffabcd"), (0xD7, b"\xffabcdefgh"), (0xD8, b"\x05" + b"a" * 16),
    (0xD9, b"\x01a"), (0xDA, b"\x00\x01a"), (0xDB, b"\x00\x00\x00\x01a"), (0xDB, b"\xff\xff\xff\xff"), (0xDC, b"\x00\x01\xc0"),
    (0xDD, b"\x00\x00\x00\x01\xc0"), (0xDD, b"\xff\xff\xff\xff"), (0xDE, b"\x00\x01\xa1a\xc0"), (0xDF, b"\x00\x00\x00\x01\xd9\x01a\xc0"),
    (0xDF, b"\xff\xff\xff\xff"), (0xE0, b""), (0xFF, b""), (0x90, b"\xc0"), (0x81, b"\xaa__base64__\xa4AP8="), (0x81, b"\xa9__bytes__\x01"),
)]
values += [b"\x91" * 63 + b"\x90", b"\x91" * 65 + b"\xc0", b"\x91" * 63 + b"\xc4\x01a", b"\x91" * 63 + b"\xc7\x01\x05a", b"\xdc\xff\xff" * 5,
           b"\xde\x00\x12" + b"".join(b"\xa1%c\x01" % (97 + i) for i in range(18)), b"\xde\x00\x12" + b"\xa1a\x01" * 18,
           b"\xd9\x21" + b"s" * 33, b"\xdc\x00\x11" + b"\x01" * 17, b"\xda\x01\x01" + b"s" * 257, b"\xc5\x01\x01" + b"b" * 257,
           b"\xc8\x01\x01\x05" + b"e" * 257, b"\xde\x00\x11" + b"".join(b"\xa1%c\xc0" % (65 + i) for i in range(17)), b""]
for name, value in number(values):
    put("msgpack", name, value)
    put("msgpack_diff", name, value)

texts = [
    b"null", b" [true, false] ", b'{"a": 1, "b": {"c": [1.5, -2e-7, 1e16, 123456789012345680.0]}}', b'{"a":1,"a":2,"b":3,"a":4}',
    b'"\\u00e9\\ud83d\\ude00 \\n\\"\\\\\\/\x7f"', b'"\xc3\xa9\xf0\x9f\x98\x80"', b'"\\ud800"', b'"\xff"', b"1e999", b"-0", b"-0.0", b"01", b"NaN",
    b"[1,]", b"{\"a\":", b"1 2", b"// c", b"\xef\xbb\xbf1", b"\x00", b'{"__base64__": "AP8="}', b'{"__base64__": "AP8"}', b'{"__base64__": 1}',
    b'{"__bytes__": "hej"}', b'{"__bytes__": "hej", "x": 1}', b"18446744073709551615", b"18446744073709551616", b"-9223372036854775809",
    b"1" + b"0" * 400, b"-" + b"9" * 301, b"[" + b"9" * 300 + b", " + b"1" * 310 + b"]", b"1" * 1300, b"1" + b"0" * 310 + b".5", b'"' + b"5" * 310 + b'\\""',
    b"[" * 64 + b"]" * 64, b"[" * 65, b'{"__ext__": [5, "YQ=="]}', b"{" + b",".join(b'"%d": %d' % (i, i) for i in range(20)) + b"}",
    b"{" + b",".join(b'"%d": %d' % (i % 9, i) for i in range(20)) + b"}", b"1e16", b"0.0001", b"0.00001", b"-1", b"", b"  ", b"[\"a\\", b"\"\\u12", b"\"\x01\"",
    b"[" * 64 + b'{"__bytes__": "x"}' + b"]" * 64, b"[" * 63 + b'{"__bytes__": "x"}' + b"]" * 63,
]
for name, text in number(texts):
    put("json", name, text)

for name, text in number([
        b"plain", b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"abcdefgh\xff",
        b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0\x9f", b"AP8=", b"AP8", b"AP9=", b"A", b"_-8", b"+/8=", b"====", b"-0x1" + b"0" * 20, b"ffffffffffffffff",
        b"-8000000000000000", b"-8000000000000001", b"0", b"-0", b"00012", b"g", b"F" * 1024, b"F" * 1025, b"9" * 299, b"9" * 300, b"9" * 301, b"a" * 299 + b"9" * 601,
        b"a\nb\nc", b"a\nb\na", b"\n".join(b"%d" % i for i in range(40)), b"\n".join(b"%d" % (i % 39) for i in range(40)), b""]):
    put("text", name, text)

for name, event in number([
        b"1\xffname\xffline\nnext\r\nlast\rend", b"\xff\xffends\n", b"a\nb\xff\xff", b"\xffa\x00\xff", b"id: 1\nevent: e\ndata: a\ndata: b\n\n", b"no colon", b"a: 1\n\nb: 2", b"a:",
        b"\xc3\xa9: \xff\xfe", b"".join(b"%d: x\n" % i for i in range(17)), b"data: x\r\ndata: y\r", b"retry: 5\nother: z", b"\xff\xff\r\n", b""]):
    put("sse", name, event)

# ---- arguments: which method, which encoding, the body

METHODS = ["bool", "int", "int8", "uint64", "int64", "double", "float", "string", "bytes", "json", "plain", "optional", "vector",
           "map", "tuple", "struct", "enum", "structs", "many"]
VALUES = [b"null", b"true", b"1", b"-1", b"300", b"18446744073709551615", b"18446744073709551616", b"1.5", b"2.0", b"1e300", b"9007199254740993.0", b'""', b'"yes"', b'"off"',
          b'"0x1F"', b'"-0b1"', b'"1_000"', b'"+7"', b'"1e400"', b'"inf"', b'" 1"', b'"-"', b'"0x"', b'{"__base64__": "AP8="}', b'{"__base64__": "MTI="}', b"[1,2]", b'"[1, \\"2\\"]"', b'"[1"',
          b'[1,"a",true]', b'{"a":1,"b":"2.5"}', b'{"x":1,"y":[1,255],"name":"n"}', b'{"x":1.9}', b'{"x":"1"}', b'[{"x":1},{"y":[256]}]', b'"{\\"x\\": 2}"', b'"wild"', b'"tame"', b'[[1]]']
for i, method in enumerate(METHODS):
    for name, value in number(VALUES):
        put("json_args", method + name, bytes([i, 0]) + b'{"a": ' + value + b"}")
many = len(METHODS) - 1
for name, text in number([b'{"_args": [1, "b", true]}', b'{"_args": [1], "b": "c"}', b'{"_args": [1], "a": 2}', b'{"a": 1, "_args": [2]}', b'{"_args": [1, 2, 3, 4]}', b'{"aa": 1}', b"{}",
                          b'{"_args": 5}']):
    put("json_args", "many_" + name, bytes([many, 0]) + text)
for name, text in number([b"a=1&b=x+y&c=on", b"_args=1&_args=z", b"a=1&a=2&a=3", b"a=%c3%a9", b"a=%zz", b"a=%ff", b"a&b=&c=1\r\n", b"&&", b"a=%4"]):
    put("json_args", "form" + name, bytes([many, 2]) + text)
    put("json_args", "form_json" + name, bytes([9, 2]) + text)
for i in range(len(METHODS)):
    put("json_args", "msgpack%03d" % i, bytes([i, 1]) + b"\x81\xa1a" + (b"\xc4\x01\xff", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xd4\x05x")[i % 3])

# ---- queries and bytes: which method, a query, a body behind 0xFF

for i, method in enumerate(METHODS):
    put("query", method, bytes([i]) + b"a=1&&a=%5B2%5d&a\xff" + b'{"a": 1}')
    put("query", "body_" + method, bytes([i]) + b"\xff\x00\xe9")
for name, text in number([b"a=5&b=x+y&c", b"c=no&a=0x1F", b"a=1&b=%c3%a9&c=\xff{}", b"a=1\xff" + b'{"b": "z", "c": true}', b"b=%ff&a=1", b"a=1&a=2", b"b", b"a=%zz", b"%61=1", b"_args=1", b"=", b"x=1",
                          b"a=1\xffa text", b"a=1&b=2\xffa text", b"&", b"a=[1,2]&a=3", b"reply_to_first_fd=0&a=1", b""]):
    put("query", "many_" + name, bytes([many]) + text)
    put("query", "list_" + name, bytes([12]) + text)

for name, text in number([b"/", b"/t", b"/t/", b"/t/fn/more", b"/fn", b"//t", b"/p", b"/p/", b"/p/t/fn", b"/pt", b"/p/t", b"/T/x", b"/%74/x", b"a%20b%C3%A9", b"%00", b"%", b"%4", b"%zz", b"/tt/x",
                          b"http://127.0.0.1:80/token\n", b"http://[::1]:1/p/t/", b"http://unix-domain:0/t", b"http://a/b", b"http://a:b/c", b"http://a:65536/c", b"http://a:1", b"https://a:1/b",
                          b"http://a:/x", b"http://a: 1/x", b""]):
    put("url", name, text)

for name, text in number([b"worker_name = x # c\n# all\n--worker-use-tcp=no\n", b"app_name=a=b", b"worker_secret=\t x y \r\n", b"nothing\n", b"worker_nice=1.5", b"worker_http_request_timeout1=2.5",
                          b"worker_config=yes\n\n", b"list=[1, 2]", b"list=\nflag=\n", b"flag=on", b"worker_umask=0o700", b"worker_url_path=/a//b", b"worker_listen_port=65536", b"x=1\n", b"\xff=1",
                          b"worker_http_request_max_size=1", b"worker_secret=#a", b"worker_secret=a #b", b"app_data_dir=a\vb", b"worker_accept_timeout=nan", b"worker_accept_timeout=1e22"]):
    put("config", name, text)

DICT = b'\xff\xff{"a": 1, "b": "text", "c": 2.5, "d": [1], "e": {"__base64__": "/w=="}, "f": 18446744073709551615, "g": ""}'
for name, text in number([b"%(a)d %(b)s%% %(c).2f %", b"%(a)5x|%(a)-5d|%(a)05i|%(a)+d|%(a) d", b"%(b)10s|%(b)-10s|%(b).2s", b"%(c)e %(c)g %(c)d %(d)s %(e)s %(f)d %(f)s %(g)s", b"%(a", b"%(a)", b"%(z)s",
                          b"%(a)q", b"%(a)123456789d", b"%(c)1.999f", b"%(b)9999999s", b"%(c)9999999f", b"%(c).999999f", b"%(b)r", b"%(d)d", b"%(a)...d", b"%x", b"--worker-name=a\xffcall\xff--x=1", b"--worker-nice=x",
                          b"--app-name=\xff--no", b"--worker_use_tcp=no"]):
    put("cli", name, text + DICT)

# ---- connections: a seed for the cuts, then the bytes


def post(path, body=b"", lines=b"", kind=b"application/json", version=b"1.1", eol=b"\r\n"):
    head = [b"POST " + path + b" HTTP/" + version, b"Content-Type: " + kind, b"Content-Length: %d" % len(body)]
    return eol.join(head + ([lines] if lines else []) + [b"", b""]) + body


def get(path, lines=b"", method=b"GET"):
    return method + b" " + path + b" HTTP/1.1\r\n" + lines + b"\r\n"


CHUNKED = b"POST /echo HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
conversations = [
    get(b"/ping") * 5, get(b"/sesame/ping") + get(b"/sesame/help"), post(b"/echo", b'{"value": [1, "x"]}') * 3, get(b"/secret") + get(b"/sesame/secret") + get(b"/wrong/secret"),
    post(b"/echo", b"\x81\xa5value\xc4\x02\xff\x00", kind=b"application/x-msgpack"), post(b"/echo", b"value=a+b", kind=b"application/x-www-form-urlencoded"),
    post(b"/echo", b"x", kind=b"text/plain") + get(b"/ping"), post(b"/echo", b"{") + get(b"/ping"), CHUNKED + b"5\r\n{\"val\r\n8\r\nue\": 12}\r\n0\r\nX: y\r\n\r\n" + get(b"/ping"),
    CHUNKED + b"5\r\nXXXXXX", get(b"/count?x=1") + get(b"/ping"), post(b"/count", b'{"n": 3, "fails": true}') + get(b"/ping"), get(b"/count", b"Accept: text/event-stream\r\n"),
    get(b"/sesame/events") + get(b"/sesame/later") + get(b"/ping"), get(b"/echo", method=b"HEAD") + get(b"/count", method=b"HEAD") + get(b"/ping"), get(b"*", method=b"OPTIONS") + get(b"/x", method=b"PUT"),
    get(b"/x", method=b"TRACE") + get(b"/x", method=b"FOO"), post(b"/fail", b'{"status": 418, "text": "\\u00e9"}') + post(b"/fail", b'{"status": 99}'), get(b"/sesame/crash") + get(b"/sesame/nothing"),
    post(b"/sesame/redirect", b'{"to": "/a\\r\\nX: y"}') + post(b"/sesame/redirect", b'{"to": "/b"}'), post(b"/document", b'{"type": "a\\nb"}') + post(b"/document", b'{"type": "image/png", "data": "x"}'),
    post(b"/echo", b'{"value": 1}', eol=b"\n"), post(b"/echo", b'{"value": 1}', lines=b"Connection: close", eol=b"\n") + get(b"/ping"), post(b"/echo", b'{"value": 1}', version=b"1.0"),
    post(b"/echo", b'{"value": 1}', lines=b"Connection: keep-alive", version=b"1.0") + get(b"/ping"), post(b"/count", b"", version=b"1.0"), get(b"/ping", b"Host: evil.example\r\n"), get(b"/ping", b"Origin: null\r\n"),
    get(b"/ping", b"Origin: http://localhost\r\nHost: localhost\r\n"), get(b"/ping", b"Sec-Fetch-Site: cross-site\r\n"), get(b"/secret", b"Authorization: Bearer sesame\r\n"),
    b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n" + b'{"value": 1}', b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n", post(b"/wrong/x", get(b"/ping")) + get(b"/ping"),
    b"POST /echo HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", b"POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", post(b"/sesame/add", b'{"_args": [1, 200]}') + post(b"/sesame/add", b'{"_args": ["0x10"], "b": "3"}'),
    post(b"/sesame/take", b'{"_args": ["_FD_BRE_MAGIC_-rb"]}'), get(b"/sesame/give"), get(b"/"), get(b"//"), b"\r\n" + get(b"/ping") + b"GET", b"nonsense\r\n\r\n" + get(b"/ping"), get(b"http://localhost/ping"),
    post(b"/echo", b'{"value": 1}').replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"), b"",
]
for name, conversation in number(conversations):
    put("conn", name, b"\0" + conversation)
    put("conn", "cut" + name, b"\7" + conversation)

# ---- descriptors: operations, see fds.cpp

CALL = post(b"/sesame/take_two", b'{"_args": ["_SO_BRE_MAGIC_-1-1-0", "_FD_BRE_MAGIC_-rb"]}')
for name, operations in number([
        bytes([5, 4]), bytes([5 + 8, 4, 5 + 16, 4, 5 + 24, 4]), bytes([6 + 16]) + CALL + bytes([0xFF, 4]), bytes([6 + 8]) + CALL + bytes([0xFF, 4]), bytes([6 + 24]) + CALL + bytes([0xFF, 4]),
        bytes([6 + 16]) + CALL[:20] + b"\xff" + bytes([4, 6]) + CALL[20:] + bytes([0xFF, 4]), bytes([6 + 32]) + b"GET /ping HTTP/1.1\r\n\r\n\xff\x04", bytes([6 + 40]) + b"x\xff\x04",
        bytes([6 + 8]) + b"G\xff\x04\x00" + bytes([6 + 24]) + b"G\xff\x04\x00" + bytes([6 + 24]) + b"G\xff\x04\x01\x04", bytes([6 + 16]) + get(b"/ping") * 2 + b"\xff\x04", bytes([6 + 16]) + get(b"/sesame/all") + b"\xff\x04",
        bytes([6 + 16]) + get(b"/sesame/nothing") + b"\xff\x03\x04", bytes([6 + 8]) + b"GET /\xff\x02\x04", bytes([6 + 8]) + b"GET /\xff\x03\x04", bytes([6]) + get(b"/sesame/give") + b"\xff\x04",
        bytes([6 + 8]) + post(b"/sesame/hand_back", b'{"file": "_FD_BRE_MAGIC_-rb"}') + b"\xff\x04",
        bytes([6 + 64 * 2 + 8]) + post(b"/sesame/count", b'{"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", 3]}') + b"\xff\x04", b""]):
    put("fds", name, operations)

# ---- conversations: a seed for the cuts, two bytes for each call, see conversation.cpp

for kind in range(16):
    for style in (0x00, 0x31, 0x22, 0x83, 0x34, 0x38, 0x05, 0xF9):
        value = bytes([0x16, 0x00, 0x85, 0x2C]) + b"text" + bytes([0x17, 0x0D, 0xFF, 0x02, 0x0B])
        put("conversation", "call%x_%02x" % (kind, style), bytes([style, kind, style]) + value * (kind > 13))
for seed in range(0, 40, 5):
    calls = bytes(byte for i in range(12) for byte in ((seed + 7 * i) % 13, (seed * 31 + i * 48) % 256 & 0xF3))
    put("conversation", "several%02d" % seed, bytes([seed]) + calls)

# ---- ext types with a JSON form, items of all kinds

for name, text in number([b'{"__fuzz__": "YQ=="}', b'{"__fuzz__": "IQ=="}', b'{"__fuzz__": 1}', b'[{"__fuzz__": "YQ"}]']):
    put("json", "ext" + name, text)
for name, value in number([b"\xd4\x07a", b"\xd4\x07!", b"\x92\xd5\x07ab\xc0"]):
    put("msgpack", "ext" + name, value)
for name, item in number([b'{"id": 1, "retry": 2.5, "event": "e", "data": [1, "x"]}', b'{"a": 1, "b": {"c": "\\n"}}', b'{"id": []}', b'{"id": "a\\nb"}', b'{"id": null, "data": null}', b'{"data": 0}',
                          b'{"data": 0.0}', b'{"data": false}', b'{"data": []}', b'{"data": {"__base64__": "YQpi"}}', b'{"data": {"__bytes__": ""}}', b'{"data": {"__ext__": [5, ""]}}', b'{"data": true}',
                          b'{"id": 18446744073709551615, "data": -1}', b"[1]", b'{"id": 1}', b'{"a": {"__fuzz__": "IQ=="}}', b'{"data": ""}', b'{"data": ' + b"[" * 63 + b"]" * 63 + b"}",
                          b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}"]):
    put("sse", "item" + name, item)
