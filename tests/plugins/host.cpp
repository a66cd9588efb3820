// SPDX-License-Identifier: MIT
// tests/plugins/host.cpp DIRECTORY PLUGIN...: loads shared objects, uses them by turns and at the same time, and
// unloads them, in either order. Knows nothing of the library. Exit code 0, or a line that says what went wrong.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using Use = int(const char* directory, const char* name);

[[noreturn]] void fail(const std::string& what) {
  std::printf("%s\n", what.c_str());
  std::exit(1);
}

struct Plugin {
  std::string path;
  void* handle = nullptr;
  Use* use = nullptr;

  void load() {
    handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) fail(::dlerror());
    use = reinterpret_cast<Use*>(::dlsym(handle, "use_plugin"));
    if (use == nullptr) fail(path + ": no use_plugin");
  }
  void check(const char* directory, const std::string& name) const {
    if (const int code = use(directory, name.c_str())) fail(path + ": " + name + " returned " + std::to_string(code));
  }
  void unload() {
    ::dlclose(handle);
    if (::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD) != nullptr) fail(path + " stays loaded");
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("host DIRECTORY PLUGIN PLUGIN...");
  const char* const directory = argv[1];
  std::vector<Plugin> plugins;
  for (int i = 2; i < argc; ++i) plugins.push_back({argv[i]});
  for (const bool first_in_first_out : {true, false}) {
    for (Plugin& plugin : plugins) {
      plugin.load();
      plugin.check(directory, "alone");
    }
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < plugins.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int round = 0; round < 5; ++round) plugins[i].check(directory, "together" + std::to_string(i));
      });
    }
    for (std::thread& thread : threads) thread.join();
    while (!plugins.empty()) {
      const auto next = first_in_first_out ? plugins.begin() : plugins.end() - 1;
      next->unload();
      plugins.erase(next);
      for (const Plugin& other : plugins) other.check(directory, "left");
    }
    for (int i = 2; i < argc; ++i) plugins.push_back({argv[i]});
  }
  return 0;
}
