// SPDX-License-Identifier: MIT
// All fuzz targets in one program.
//
// With FUZZ_WITH_LIBFUZZER libFuzzer makes the inputs, for the target that is named by FUZZ_TARGET in the environment.
// Without, it runs each target over the files of its corpus. Arguments: the folder of the corpora, then names of
// targets if not all are wanted. The last line is `N passed, N failed`. What fails ends the program at once, after its
// name has been said.
#include "chunked.cpp"
#include "cli.cpp"
#include "config.cpp"
#include "conn.cpp"
#include "conversation.cpp"
#include "fds.cpp"
#include "json.cpp"
#include "json_args.cpp"
#include "msgpack.cpp"
#include "msgpack_diff.cpp"
#include "query.cpp"
#include "req_parse.cpp"
#include "resp_parse.cpp"
#include "service.cpp"
#include "sse.cpp"
#include "text.cpp"
#include "url.cpp"

#if defined(FUZZ_WITH_LIBFUZZER)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto run = [] {
    const char* name = std::getenv("FUZZ_TARGET");
    const auto found = fuzz::targets().find(name != nullptr ? name : "");
    if (found != fuzz::targets().end()) return found->second;
    std::cerr << "FUZZ_TARGET has to name one of the targets\n";
    std::exit(2);
  }();
  run({reinterpret_cast<const char*>(data), size});
  return 0;
}

#else

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace {

std::string current;  // the file that is being replayed

extern "C" void say_which(int signal) {
  current += ": failed\n0 passed, 1 failed\n";
  static_cast<void>(!::write(STDOUT_FILENO, current.data(), current.size()));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path corpora = argc > 1 ? argv[1] : "tests/fuzz/corpus";
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, say_which);
  std::size_t passed = 0, failed = 0;
  for (const auto& [name, run] : fuzz::targets()) {
    if (argc > 2 && std::find(argv + 2, argv + argc, name) == argv + argc) continue;
    std::size_t files = 0;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(corpora / name, none)) {
      current = entry.path().string();
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> input{std::istreambuf_iterator<char>(file), {}};
      run({input.data(), input.size()});
      ++files;
    }
    if (files == 0) std::cout << name << ": no corpus in " << corpora.string() << "\n";
    ++(files == 0 ? failed : passed);
  }
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed == 0 && passed != 0 ? 0 : 1;
}

#endif
