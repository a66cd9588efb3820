// SPDX-License-Identifier: MIT
// kettlingar_test.cpp: the test program's main(). The tests are in tests/unit, a file for each part of the library.
#include "tests/unit/support.hpp"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

namespace {

// The last line of every run, for people and for CI.
struct Totals : doctest::IReporter {
  explicit Totals(const doctest::ContextOptions& options)
      : wanted(!options.count && !options.list_test_cases && !options.list_test_suites) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    if (!wanted) return;
    failed = stats.numTestCasesFailed;
    passed = stats.numTestCasesPassingFilters - failed;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
  bool wanted;
  static inline unsigned passed = 0, failed = 0;
};
REGISTER_LISTENER("totals", 1, Totals);

int run_as_service(int argc, char** argv) {
  kt::Kitten kitten("prompting", "Kitty", "A service that asks");
  if (std::getenv(as_service) == "client"s) {
    // A program that is started as the service, but does not end in main().
    try {
      kitten.settings().app_state_dir = "/nonexistent";
      kitten.connect(kt::auto_start);
    } catch (const kt::NotRunning& error) {
      std::cerr << error.what() << std::endl;
    }
    return 1;
  }
  kitten.api(
      "login",
      [](std::optional<std::string> user, std::optional<std::string> password) {
        std::vector<kt::NeededVariable> needed;
        if (!user) needed.push_back({"user", "username"});
        if (!password) needed.push_back({"password", "password", "Your password"});
        if (password != "sesame" || !user) {
          if (needed.empty()) needed.push_back({"password", "password", "Another password"});
          throw kt::NeedInfo("Please log in", needed);
        }
        return "Welcome, " + *user;
      },
      "", kt::arg("user") = nullptr, kt::arg("password") = nullptr);
  kitten.api("work", []() -> kt::Generator<json> {
    json item = json::object();
    item["progress"] = 0.5;
    item["_format"] = "half of it";
    co_yield item;
    co_yield json("result");
  });
  kitten.api("wait", []() -> kt::Generator<std::string> {
    co_yield "waiting";
    co_await kt::sleep_for(24h);
  });
  kitten.api("measure", [] { return json{{"progress", 40}}; });
  return kitten.main(argc, argv);
}

}  // namespace

#if KETTLINGAR_TEST_WITH_ASAN
namespace {
const pid_t testing = ::getpid();
}  // namespace

// Not in forked children: what the stacks of the other threads held looks like leaks there.
extern "C" int __lsan_is_turned_off() { return ::getpid() != testing ? 1 : 0; }
#endif

int main(int argc, char** argv) {
  if (const char* name = std::getenv(as_service)) {
    const auto own = services().find(name);
    return own != services().end() ? own->second(argc, argv) : run_as_service(argc, argv);
  }
  doctest::Context context(argc, argv);
  const int code = context.run();
  if (!context.shouldExit()) std::cout << Totals::passed << " passed, " << Totals::failed << " failed" << std::endl;
  return code;
}
