// SPDX-License-Identifier: MIT
// The methods of the fuzzed service.
#include "service.hpp"

namespace fuzz {

namespace {

constexpr int most_items = 20;

kt::Generator<kt::json> count_up(int n, bool fails) {
  for (int i = 0; i < n && i < most_items; ++i) co_yield kt::json(i);
  if (fails) throw kt::NotFound("no more");
}

kt::Generator<kt::Event> events(std::string data, int n) {
  kt::Event event;
  event.fields["data"] = data;
  for (int i = 0; i < n && i < most_items; ++i) co_yield event;
}

kt::Task<int> later(int n) {
  co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
  co_return n;
}

}  // namespace

Service::Service()
    : state_((std::filesystem::temp_directory_path() / "kettlingar-fuzz.XXXXXX").string()), kitten_("fuzz") {
  FUZZ_CHECK(::mkdtemp(state_.data()) != nullptr);
  kt::Settings& settings = kitten_.settings();
  settings.app_state_dir = settings.app_data_dir = state_;
  settings.worker_secret = token;
  settings.worker_use_tcp = false;
  kitten_.limits().descriptors = 4;
  kitten_.limits().unclaimed_descriptors = 6;

  using kt::arg, kt::json;
  kitten_.public_api(
      "echo", [](json value) { return value; }, arg("value") = nullptr);
  kitten_.public_api(
      "document",
      [](std::string type, kt::Bytes data) {
        return kt::Result{std::move(type), std::string(data.begin(), data.end())};
      },
      arg("type") = "text/plain", arg("data") = "meow");
  kitten_.public_api("count", count_up, arg("n") = 2, arg("fails") = false);
  kitten_.public_api(
      "fail", [](int status, std::string text) -> int { throw kt::Error(status, text); }, arg("status") = 400,
      arg("text") = "no");
  kitten_.api(
      "secret", [](std::string word) { return word + "!"; }, arg("word") = "");
  kitten_.api(
      "add", [](int a, std::int8_t b) { return std::int64_t{a} + b; }, arg("a"), arg("b") = 1);
  kitten_.api("events", events, arg("data") = "x", arg("n") = 1);
  kitten_.api("later", later, arg("n") = 1);
  kitten_.api(
      "redirect", [](std::string to) -> int { throw kt::Redirect(to); }, arg("to") = "/");
  kitten_.api("crash", []() -> int { throw std::runtime_error("inside"); });
  kitten_.api(
      "take", [](kt::File file) { return file.mode(); }, arg("file"));
  kitten_.api(
      "take_two", [](kt::Socket one, kt::Fd two) { return one.family() + (two ? 1 : 0); }, arg("one"), arg("two"));
  kitten_.api(
      "give",
      [](int n) {
        std::vector<kt::File> files;
        for (int i = 0; i < n && i < 8; ++i) files.push_back(kt::File::open("/dev/null", "rb"));
        return files;
      },
      arg("n") = 1);
  kitten_.api(
      "hand_back", [](kt::File file) { return file; }, arg("file"));
  kitten_.api("all", [](kt::Request& request) { return request.descriptors().size(); });
  kitten_.start();
}

Service::~Service() {
  kitten_.stop();
  std::error_code ignored;
  std::filesystem::remove_all(state_, ignored);
}

}  // namespace fuzz
