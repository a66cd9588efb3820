// SPDX-License-Identifier: MIT
// codec.cpp: what it costs to read and write values and request heads, beside other libraries.
//
//   codec ROUND   prints lines of `group|row|ROUND|nanoseconds|` for bench/report
//
// The rows of a group do the same work and take turns. The fastest of TURNS turns counts: a slower one was disturbed by
// something else on the machine.
#include "../samples.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#if __has_include(<msgpack.hpp>)
#define MSGPACK_NO_BOOST
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#include <msgpack.hpp>
#pragma GCC diagnostic pop
#define WITH_MSGPACK_CXX 1
#else
#define WITH_MSGPACK_CXX 0
#endif

#ifdef WITH_HTTP_PARSER
#include <http_parser.h>
#endif

using Clock = std::chrono::steady_clock;

struct Row {
  const char* name;
  std::function<void()> work;  ///< empty: skipped, and why
  const char* why = "";
};

double nanoseconds(const std::function<void()>& work, long times) {
  const auto begun = Clock::now();
  for (long i = 0; i < times; ++i) work();
  return std::chrono::duration<double, std::nano>(Clock::now() - begun).count() / static_cast<double>(times);
}

void measure(const char* group, int round, const std::vector<Row>& rows) {
  constexpr int turns = 5;
  constexpr double turn = 4e7;
  std::vector<long> times;
  for (const Row& row : rows) {
    const double once = row.work ? nanoseconds(row.work, 3) : turn;  // this run also warms the caches
    times.push_back(std::max(1L, static_cast<long>(turn / once)));
  }
  std::vector<double> fastest(rows.size(), std::numeric_limits<double>::max());
  for (int i = 0; i < turns; ++i) {
    for (std::size_t r = 0; r < rows.size(); ++r)
      if (rows[r].work) fastest[r] = std::min(fastest[r], nanoseconds(rows[r].work, times[r]));
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].work) {
      std::printf("%s|%s|%d|%.2f|\n", group, rows[r].name, round, fastest[r]);
    } else {
      std::printf("%s|%s|skipped: %s\n", group, rows[r].name, rows[r].why);
    }
  }
}

void values(int round) {
  const kt::json value = small_maps(656 * 1024);
  std::string packed;
  require(!kt::encode_msgpack(value, packed), "the value cannot be packed");
  const nlohmann::json plain = nlohmann::json::from_msgpack(packed);
  kt::json read;
  require(!kt::decode_msgpack(packed, read) && read == value, "what was packed is not what is read");

  std::vector<Row> reading = {
      {"a deep copy of the value", [&] { keep(kt::json(value)); }},
      {"kettlingar",
       [&] {
         kt::json out;
         keep(kt::decode_msgpack(packed, out));
         keep(out);
       }},
      {"nlohmann", [&] { keep(nlohmann::json::from_msgpack(packed)); }},
      {"nlohmann, keys in order", [&] { keep(kt::json::from_msgpack(packed)); }},
  };
  std::vector<Row> writing;
#if WITH_MSGPACK_CXX
  const msgpack::object_handle object = msgpack::unpack(packed.data(), packed.size());
  msgpack::sbuffer again;
  msgpack::pack(again, object.get());
  // Its bytes differ: it writes floats without a fraction as integers.
  require(!kt::decode_msgpack({again.data(), again.size()}, read) && read == value, "msgpack-cxx packs something else");
  reading.push_back({"msgpack-cxx, own object", [&] { keep(msgpack::unpack(packed.data(), packed.size())); }});
  writing.push_back({"msgpack-cxx, own object", [&] {
                       msgpack::sbuffer out;
                       msgpack::pack(out, object.get());
                       keep(out);
                     }});
#else
  constexpr const char* missing = "it is not here (libmsgpack-cxx-dev)";
  reading.push_back({"msgpack-cxx, own object", {}, missing});
  writing.push_back({"msgpack-cxx, own object", {}, missing});
#endif
  writing.push_back({"kettlingar", [&] {
                       std::string out;
                       keep(kt::encode_msgpack(value, out));
                       keep(out);
                     }});
  writing.push_back({"nlohmann", [&] { keep(nlohmann::json::to_msgpack(plain)); }});
  measure("656 KB of small maps from msgpack to a json value", round, reading);
  measure("the same from a json value to msgpack", round, writing);
}

void arguments(int round) {
  require(arguments_of(small_body) == std::tuple{3, std::string("purr purr"), false}, "the arguments are others");
  std::vector<Row> rows = {
      {"nlohmann",
       [&] {
         const nlohmann::json map = nlohmann::json::from_msgpack(small_body);
         keep(std::tuple{map.at("count").get<int>(), map.at("sound").get<std::string>(), map.at("caps").get<bool>()});
       }},
      {"kettlingar", [&] { keep(arguments_of(small_body)); }},
  };
#if WITH_MSGPACK_CXX
  rows.push_back({"msgpack-cxx", [&] {
                    const msgpack::object_handle map = msgpack::unpack(small_body.data(), small_body.size());
                    const auto* at = map.get().via.map.ptr;  // in the order of the map: it cannot look up a name
                    keep(std::tuple{at[0].val.as<int>(), at[1].val.as<std::string>(), at[2].val.as<bool>()});
                  }});
#else
  rows.push_back({"msgpack-cxx", {}, "it is not here (libmsgpack-cxx-dev)"});
#endif
  measure("a call's body of 30 bytes to three typed arguments", round, rows);
}

void head(const char* group, int round, std::string_view bytes) {
  const kt::Limits limits;
  require(parse_head(bytes, limits), "the head is refused");
  std::vector<Row> rows;
#ifdef WITH_HTTP_PARSER
  // With a callback for every part, as any program that uses a head needs.
  http_parser_settings settings;
  http_parser_settings_init(&settings);
  settings.on_url = settings.on_header_field =
      settings.on_header_value = [](http_parser*, const char* at, size_t size) {
        keep(at);
        keep(size);
        return 0;
      };
  const auto theirs = [&] {
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    const std::size_t parsed = http_parser_execute(&parser, &settings, bytes.data(), bytes.size());
    keep(parser);
    return parsed == bytes.size() && parser.http_errno == HPE_OK;
  };
  require(theirs(), "http-parser refuses the head");
  rows.push_back({"http-parser", [&] { keep(theirs()); }});
#else
  rows.push_back({"http-parser", {}, "it is not here (libhttp-parser-dev)"});
#endif
  rows.push_back({"kettlingar", [&] { keep(parse_head(bytes, limits)); }});
  measure(group, round, rows);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int round = std::atoi(argv[1]);
  values(round);
  arguments(round);
  head("a request head of 146 bytes", round, small_head);
  head("a browser's request head, 430 bytes", round, browser_head);
  return 0;
}
