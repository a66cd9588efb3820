// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("client/awaitables") {
  using kt::Client;

  struct Note {
    std::string text;
    int number = 0;
  };
  NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, text, number)

  struct Noted : kt::Kitten {
    Noted() : Kitten("testkitten", "Kitty") {
      api("join", &Noted::join, kt::arg("text"), kt::arg("number") = 1);
      api("keep", &Noted::keep, kt::arg("note"));
      api("repeat", &Noted::repeat, kt::arg("text"), kt::arg("count") = 2);
    }
    std::string join(std::string text, int number) { return text + std::to_string(number); }
    Note keep(Note note) { return note; }
    kt::Generator<std::string> repeat(std::string text, int count) {
      for (int i = 0; i < count; ++i) co_yield text + std::to_string(i);
    }
  };

  // Longer than what a std::string keeps within itself. Temporaries are the point: nothing here is named first that
  // need not be.
  const std::string word = "a word that does not fit into a short string, ";

  // A template will not do: in one, g++ 12 does not know what a co_await gives.
#define CONNECT_IN_ALL_FORMS(state, told)                                                                             \
  try {                                                                                                               \
    co_await Client::async_connect("nobody-has-this-name");                                                           \
  } catch (const kt::NotRunning&) {                                                                                   \
    told->push_back("nobody");                                                                                        \
  }                                                                                                                   \
  try {                                                                                                               \
    co_await Client::async_connect("nobody-has-this-name", "and-there-is-no-such-worker");                            \
  } catch (const kt::NotRunning&) {                                                                                   \
    told->push_back("no worker");                                                                                     \
  }                                                                                                                   \
  try {                                                                                                               \
    co_await Client::async_connect("nobody-has-this-name", "and-there-is-no-such-worker", {});                        \
  } catch (const kt::NotRunning&) {                                                                                   \
    told->push_back("empty braces");                                                                                  \
  }                                                                                                                   \
  told->push_back(co_await (co_await Client::async_connect("testkitten", "Kitty", {.state_directory = state}))        \
                      .async_call<std::string>("join", "member "));                                                   \
  told->push_back(co_await (co_await Client::async_connect("testkitten", "Kitty", {.state_directory = state + "/."})) \
                      .async_call<std::string>("join", "temporary "));                                                \
  told->push_back(co_await (co_await Client::async_connect("testkitten", "Kitty",                                     \
                                                           {.state_directory = state.c_str(),                         \
                                                            .use_tcp = false,                                         \
                                                            .timeouts = {.connect = 2s, .total = 20s},                \
                                                            .limits = {.depth = 8}}))                                 \
                      .async_call<std::string>("join", "all of it "));                                                \
  told->push_back(                                                                                                    \
      co_await (co_await Client::async_connect("testkitten", "Kitty", kt::ClientOptions{.state_directory = state}))   \
          .async_call<std::string>("join", "type "));                                                                 \
  kt::ClientOptions options;                                                                                          \
  options.state_directory = state;                                                                                    \
  told->push_back(co_await (co_await Client::async_connect("testkitten", "Kitty", options))                           \
                      .async_call<std::string>("join", "named "));                                                    \
  told->push_back(co_await Client::connect("testkitten", "Kitty", {.state_directory = state})                         \
                      .async_call<std::string>("join", "blocking "))

#define AWAIT_IN_ALL_FORMS(client, file, told)                                                                     \
  co_await kt::sleep_for(1ms);                                                                                     \
  co_await kt::sleep_for({});                                                                                      \
  told->push_back((co_await client.async_call("join", word)).get<std::string>());                                  \
  told->push_back(co_await client.async_call<std::string>("join", word, 2));                                       \
  told->push_back(co_await client.async_call<std::string>("join", kt::arg("text") = word, kt::arg("number") = 3)); \
  told->push_back(                                                                                                 \
      co_await client.async_call<std::string>("join", kt::arg("text") = word + "+", kt::arg("number") = 4));       \
  told->push_back((co_await client.async_call<kt::Result>("join", word)).mime_type);                               \
  co_await client.async_call<void>("join", word);                                                                  \
  told->push_back(co_await client.async_call(&Noted::join, word, 5));                                              \
  const Note note{word, 6};                                                                                        \
  told->push_back((co_await client.async_call<Note>("keep", note)).text);                                          \
  told->push_back((co_await client.async_call<Note>("keep", kt::arg("note") = note)).text);                        \
  told->push_back((co_await client.async_call(&Noted::keep, note)).text);                                          \
  auto items = client.async_stream("repeat", word);                                                                \
  while (auto item = co_await items.next()) told->push_back(item->get<std::string>());                             \
  auto words = client.async_stream<std::string>("repeat", word + "*", kt::arg("count") = 1);                       \
  while (auto item = co_await words.next()) told->push_back(*item);                                                \
  auto typed = client.async_stream(&Noted::repeat, word + "-", 1);                                                 \
  while (auto item = co_await typed.next()) told->push_back(*item);                                                \
  told->push_back((co_await client.async_stream<std::string>("repeat", word + "once ").next()).value());           \
  co_await kt::async_write_all(file, word);                                                                        \
  co_await kt::async_write_all(file, word + "and ");                                                               \
  co_await kt::async_write_all(file, "the end");                                                                   \
  ::lseek(file.get(), 0, SEEK_SET);                                                                                \
  told->push_back(co_await kt::async_read_some(file, 6));                                                          \
  told->push_back(co_await kt::async_read_some(file));                                                             \
  ::lseek(file.get(), 0, SEEK_SET);                                                                                \
  told->push_back(std::to_string((co_await kt::async_read_all(file)).size()));                                     \
  ::lseek(file.get(), 0, SEEK_SET);                                                                                \
  told->push_back(std::to_string((co_await kt::async_read_all(file, 1000)).size()))

  kt::Task<> connect_in_a_task(std::string state, std::vector<std::string> * told) {
    CONNECT_IN_ALL_FORMS(state, told);
  }
  kt::Generator<int> connect_in_a_generator(std::string state, std::vector<std::string> * told) {
    CONNECT_IN_ALL_FORMS(state, told);
  }
  kt::Task<> await_in_a_task(Client client, kt::File file, std::vector<std::string> * told) {
    AWAIT_IN_ALL_FORMS(client, file, told);
  }
  kt::Generator<int> await_in_a_generator(Client client, kt::File file, std::vector<std::string> * told) {
    AWAIT_IN_ALL_FORMS(client, file, told);
  }

  const std::vector<std::string> connected{"nobody",      "no worker", "empty braces", "member 1",  "temporary 1",
                                           "all of it 1", "type 1",    "named 1",      "blocking 1"};
  const std::vector<std::string> awaited{word + "1",
                                         word + "2",
                                         word + "3",
                                         word + "+4",
                                         "application/json",
                                         word + "5",
                                         word,
                                         word,
                                         word,
                                         word + "0",
                                         word + "1",
                                         word + "*0",
                                         word + "-0",
                                         word + "once 0",
                                         word.substr(0, 6),
                                         word.substr(6) + word + "and the end",
                                         std::to_string(2 * word.size() + 11),
                                         std::to_string(2 * word.size() + 11)};

  struct Awaiting {
    Awaiting() {
      kitten.settings().app_state_dir = state.path();
      kitten.start_thread();
    }
    ~Awaiting() { kitten.stop(); }
    kt::File file() const { return kt::File::open(state / "file", "w+b"); }

    TempDir state;
    Noted kitten;
    std::vector<std::string> told;
  };

  void run(kt::Task<> task) {
    asio::io_context loop;
    asio::co_spawn(loop, std::move(task), [](const std::exception_ptr& error) {
      if (error) std::rethrow_exception(error);
    });
    loop.run();
  }

  TEST_CASE_FIXTURE(Awaiting, "every awaitable of clients works in a Task, with defaults and with braces") {
    run(connect_in_a_task(state.path(), &told));
    CHECK(told == connected);
    told.clear();
    run(await_in_a_task(kitten.connect(), file(), &told));
    CHECK(told == awaited);
    told.clear();
    run(await_in_a_task(kitten.loopback(), file(), &told));
    CHECK(told == awaited);
  }

  TEST_CASE_FIXTURE(Awaiting, "every awaitable of clients works in a Generator, with defaults and with braces") {
    TempDir other_state;
    kt::Kitten other("testkitten", "Other");
    other.settings().app_state_dir = other_state.path();
    other.api("connect", [&] { return connect_in_a_generator(state.path(), &told); });
    const kt::Client client = kitten.connect();
    other.api("await", [&] { return await_in_a_generator(client, file(), &told); });
    other.start_thread();
    other.connect().call<void>("connect");
    CHECK(told == connected);
    told.clear();
    other.connect().call<void>("await");
    CHECK(told == awaited);
    other.stop();
  }

  TEST_CASE("a path among the options of a client is any text, and as long as the system takes it") {
    kt::ClientOptions options;
    CHECK(options.state_directory.empty());
    options.state_directory = "/tmp";
    CHECK(options.state_directory.string() == "/tmp");
    options.state_directory = "/var/tmp"s;
    options.state_directory = "/var"sv;
    const std::string text = options.state_directory;
    CHECK(text == "/var");
    const kt::ClientOptions copy{.state_directory = std::filesystem::path("/srv") / "x"};
    options = copy;
    CHECK(options.state_directory.string() == "/srv/x");
    options.state_directory = {};
    CHECK(options.state_directory.empty());
    options.state_directory = std::string(4095, 'x');
    CHECK(options.state_directory.string() == std::string(4095, 'x'));
    CHECK_THROWS_AS(options.state_directory = std::string(4096, 'x'), kt::InvalidArgument);
    CHECK_THROWS_AS(options.state_directory = "a\0b"sv, kt::InvalidArgument);
    CHECK(options.state_directory.string() == std::string(4095, 'x'));
  }
}
