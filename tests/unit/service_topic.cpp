// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// A type that counts how often it becomes JSON.
struct Noticed {
  std::string text;
  static inline std::atomic<int> encoded = 0;
};
void to_json(nlohmann::json& value, const Noticed& noticed) {
  ++Noticed::encoded;
  if (noticed.text == "throws") throw std::runtime_error("no");
  value = noticed.text;
}

}  // namespace

TEST_SUITE("service/topic") {
  TEST_CASE("events of other threads reach every stream, in order") {
    Home home;
    kt::Topic<int> ticks(1000);
    home.kitten.api("ticks", ticks, "What happens.");
    home.start();
    const kt::Client client = home.kitten.connect();
    std::vector<kt::Stream<int>> streams;
    std::vector<std::thread> readers;
    std::vector<std::vector<int>> got(3);
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&, i] {
        for (const int tick : client.stream<int>("ticks")) got[static_cast<std::size_t>(i)].push_back(tick);
      });
    }
    CHECK(eventually([&] { return ticks.subscribers() == 3; }));
    std::vector<std::thread> writers;
    for (int w = 0; w < 2; ++w) {
      writers.emplace_back([&, w] {
        for (int i = 0; i < 400; ++i) ticks.publish(w * 1000 + i);
      });
    }
    for (std::thread& writer : writers) writer.join();
    ticks.close();
    for (std::thread& reader : readers) reader.join();
    for (const auto& items : got) {
      CHECK(items.size() == 800);
      std::vector<int> first;
      std::copy_if(items.begin(), items.end(), std::back_inserter(first), [](int tick) { return tick < 1000; });
      CHECK(std::is_sorted(first.begin(), first.end()));
    }
    CHECK(ticks.subscribers() == 0);
  }

  TEST_CASE("a subscriber that does not keep up loses what its policy says") {
    using kt::Overflow;
    for (const Overflow policy : {Overflow::drop_oldest, Overflow::latest_only, Overflow::disconnect}) {
      kt::Topic<int> topic(3, policy);
      Home home;
      home.kitten.api("topic", topic);
      const kt::Client client = home.kitten.loopback();
      auto items = client.stream<int>("topic");
      asio::io_context loop;
      kt::Generator<int> stream = topic.subscribe();
      std::vector<int> got;
      std::string error;
      asio::co_spawn(
          loop,
          [&]() -> kt::Task<> {
            try {
              while (auto item = co_await stream.next()) got.push_back(*item);
            } catch (const kt::Error& thrown) {
              error = thrown.what();
            }
          },
          asio::detached);
      loop.poll();
      CHECK(topic.subscribers() == 1);
      for (int i = 1; i <= 5; ++i) topic.publish(i);
      topic.close();
      loop.restart();
      loop.run();
      if (policy == Overflow::drop_oldest) CHECK(got == std::vector<int>{3, 4, 5});
      if (policy == Overflow::latest_only) CHECK(got == std::vector<int>{5});
      if (policy == Overflow::disconnect) CHECK(got == std::vector<int>{1, 2, 3});
      CHECK(error == (policy == Overflow::disconnect ? "events came faster than they were taken" : ""));
      CHECK(topic.dropped() == (policy == Overflow::latest_only ? 4 : 2));
    }
  }

  TEST_CASE("a topic that is closed takes nothing more, so that its streams end however much is published") {
    Home home;
    kt::Topic<int> ticks;
    home.kitten.api("ticks", ticks);
    const kt::Client client = home.kitten.loopback();
    asio::io_context loop;
    kt::Generator<int> stream = ticks.subscribe();
    std::vector<int> got;
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<> {
          while (auto item = co_await stream.next()) {
            got.push_back(*item);
            if (got.size() == 100) co_return;
            ticks.publish(*item + 1);
            if (*item == 2) ticks.close();
          }
        },
        [](const std::exception_ptr& error) { CHECK(error == nullptr); });
    loop.poll();
    ticks.publish(1);
    for (int i = 0; i < 100; ++i) loop.poll();
    CHECK(got == std::vector<int>{1, 2, 3});
    CHECK(ticks.subscribers() == 0);
    ticks.close();
    ticks.publish(5);
    int late = 0;
    for (const int item : client.stream<int>("ticks")) late += item;
    CHECK(late == 0);
  }

  TEST_CASE("browsers get the events of a topic as server-sent events, and leaving unsubscribes") {
    Home home;
    kt::Topic<std::string> news;
    home.kitten.api("news", news);
    home.start();
    {
      Wire wire = Wire::tcp(home.kitten);
      wire.send(home.get(home.path("news"), "Accept: text/event-stream\r\n"));
      CHECK(eventually([&] { return news.subscribers() == 1; }));
      news.publish("fish");
      CHECK(wire.until("data: fish\n\n"));
    }
    CHECK(eventually([&] { return news.subscribers() == 0; }));
  }

  TEST_CASE("an event is kept once and encoded once for each format, however many streams have it to send (167)") {
    Home home;
    kt::Topic<Noticed> topic;
    home.kitten.api("topic", topic);
    home.start();
    const kt::Client msgpack = client_of(home);
    const kt::Client text = client_of(home, {.use_msgpack = false});
    std::vector<kt::Stream<std::string>> streams;
    for (int i = 0; i < 6; ++i) streams.push_back((i % 2 == 0 ? msgpack : text).stream<std::string>("topic"));
    std::vector<std::future<void>> readers;
    std::atomic<int> begun = 0;
    std::vector<std::string> got(streams.size());
    for (std::size_t i = 0; i < streams.size(); ++i) {
      readers.push_back(std::async(std::launch::async, [&, i] {
        streams[i].next();  // may be an answer in disguise, and is looked at for that
        ++begun;
        got[i] = streams[i].next().value_or("nothing");
      }));
    }
    CHECK(eventually([&] { return topic.subscribers() == 6; }));
    topic.publish(Noticed{"first"});
    CHECK(eventually([&] { return begun == 6; }));
    Noticed::encoded = 0;
    topic.publish(Noticed{"fish"});
    for (auto& reader : readers) reader.get();
    for (const std::string& item : got) CHECK(item == "fish");
    CHECK(Noticed::encoded == 2);
    topic.close();
  }

  TEST_CASE("events that wait have a bound in bytes, over all streams together (167)") {
    constexpr std::size_t most = 1024 * 1024;
    for (const kt::Overflow policy : {kt::Overflow::drop_oldest, kt::Overflow::disconnect}) {
      kt::Topic<std::string> topic(64, policy, most);
      asio::io_context loop;
      std::vector<kt::Generator<std::string>> silent;
      for (int i = 0; i < 60; ++i) silent.push_back(topic.subscribe());
      int asked = 0;
      for (auto& stream : silent) {
        // Each takes one event and then no more.
        asio::co_spawn(
            loop, [&]() -> kt::Task<> { asked += (co_await stream.next()).has_value() ? 1 : 0; }, asio::detached);
      }
      loop.poll();
      CHECK(topic.subscribers() == 60);
      for (int i = 0; i < 200; ++i) topic.publish(std::string(100'000, 'x'));
      if (policy == kt::Overflow::drop_oldest) CHECK(topic.bytes() > most / 2);
      CHECK(topic.bytes() <= most);
      CHECK(topic.dropped() > 0);
      loop.restart();
      loop.poll();
      CHECK(asked == (policy == kt::Overflow::disconnect ? 0 : 60));
      silent.clear();
      CHECK(topic.bytes() == 0);
      // Larger than the bound, but alone.
      kt::Generator<std::string> one = topic.subscribe();
      std::string got;
      asio::co_spawn(
          loop, [&]() -> kt::Task<> { got = (co_await one.next()).value_or(""); }, asio::detached);
      loop.restart();
      loop.poll();
      topic.publish(std::string(2 * most, 'y'));
      loop.restart();
      loop.poll();
      CHECK(got.size() == 2 * most);
    }
  }

  TEST_CASE("what a slow reader is being sent costs no other stream its events (167)") {
    constexpr std::size_t most = 1024 * 1024;
    for (const kt::Overflow policy : {kt::Overflow::drop_oldest, kt::Overflow::disconnect}) {
      kt::Topic<std::string> topic(64, policy, most);
      asio::io_context loop;
      std::vector<kt::Generator<std::string>> slow;
      for (int i = 0; i < 4; ++i) slow.push_back(topic.subscribe());
      kt::Generator<std::string> healthy = topic.subscribe();
      std::vector<std::size_t> sizes;
      const auto one_of = [&](kt::Generator<std::string>& stream) -> kt::Task<> {
        const auto item = co_await stream.next();
        if (item) sizes.push_back(item->size());
      };
      const auto run = [&] {
        loop.restart();
        loop.poll();
      };
      // Each of the slow ones has an event of its own that it never comes to the end of.
      for (auto& stream : slow) {
        asio::co_spawn(loop, one_of(stream), asio::detached);
        asio::co_spawn(loop, one_of(healthy), asio::detached);
        run();
        topic.publish(std::string(400'000, 'x'));
        run();
      }
      CHECK(topic.bytes() > most);
      const std::uint64_t dropped = topic.dropped();
      sizes.clear();
      for (std::size_t i = 1; i <= 8; ++i) topic.publish(std::string(i, 'y'));
      for (int i = 0; i < 8; ++i) {
        asio::co_spawn(loop, one_of(healthy), asio::detached);
        run();
      }
      CHECK(sizes == std::vector<std::size_t>{1, 2, 3, 4, 5, 6, 7, 8});
      if (policy == kt::Overflow::drop_oldest) CHECK(topic.dropped() == dropped);
    }
  }

  TEST_CASE("an event that cannot be encoded is the error of its streams, not of who publishes it") {
    Home home;
    kt::Topic<Noticed> topic;
    home.kitten.api("topic", topic);
    home.start();
    const kt::Client client = client_of(home);
    kt::Stream<std::string> stream = client.stream<std::string>("topic");
    std::future<void> first = std::async(std::launch::async, [&] { stream.next(); });
    CHECK(eventually([&] { return topic.subscribers() == 1; }));
    topic.publish(Noticed{"throws"});
    CHECK_THROWS_AS(first.get(), kt::Error);
  }

  TEST_CASE("a stream that is disconnected for its bytes loses, and counts, all that waited for it") {
    kt::Topic<std::string> topic(64, kt::Overflow::disconnect, 1024 * 1024);
    asio::io_context loop;
    kt::Generator<std::string> stream = topic.subscribe();
    int got = 0;
    std::string error;
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<> {
          try {
            while (co_await stream.next()) ++got;
          } catch (const kt::Error& thrown) {
            error = thrown.what();
          }
        },
        asio::detached);
    loop.poll();
    for (int i = 0; i < 2; ++i) topic.publish(std::string(200'000, 'x'));
    CHECK(topic.dropped() == 0);
    topic.publish(std::string(200'000, 'x'));
    CHECK(topic.dropped() == 3);
    loop.restart();
    loop.run();
    CHECK(got == 0);
    CHECK(error == "events came faster than they were taken");
  }

  TEST_CASE("a topic may be destroyed before its service, and costs no stream an event") {
    Home home;
    home.kitten.limits().drain_timeout = 20ms;
    std::optional<kt::Topic<int>> ticks(std::in_place);
    home.kitten.api("ticks", *ticks);
    home.start();
    const kt::Client client = home.kitten.connect();
    auto items = client.stream<int>("ticks");
    std::future<std::optional<int>> first = std::async(std::launch::async, [&] { return items.next(); });
    CHECK(eventually([&] { return ticks->subscribers() == 1; }));
    for (int i = 1; i <= 3; ++i) ticks->publish(i);
    ticks.reset();
    CHECK(first.get() == 1);
    CHECK(items.next() == 2);
    CHECK(items.next() == 3);
    // Nothing more comes, but the method is still there.
    Wire later = Wire::local(home.kitten);
    CHECK(later.send(home.get(home.path("ticks"))).until("200 OK"));
    home.kitten.stop();
    CHECK_THROWS_AS(items.next(), kt::ConnectionError);
  }

  TEST_CASE("a topic may outlive its services, and serve the next one") {
    kt::Topic<int> ticks;
    for (int round = 1; round <= 2; ++round) {
      std::optional<Home> home(std::in_place);
      home->kitten.limits().drain_timeout = 20ms;
      home->kitten.api("ticks", ticks);
      home->start();
      auto items = home->kitten.connect().stream<int>("ticks");
      std::future<std::optional<int>> first = std::async(std::launch::async, [&] { return items.next(); });
      CHECK(eventually([&] { return ticks.subscribers() == 1; }));
      ticks.publish(round);
      CHECK(first.get() == round);
      home.reset();
      CHECK(ticks.subscribers() == 0);
      CHECK(ticks.bytes() == 0);
      ticks.publish(100);
    }
    // One on a host's loop is gone before its streams have heard of it.
    TempDir dir;
    asio::io_context loop;
    std::optional<kt::Kitten> kitten(std::in_place, loop, "hosted", "Kitty");
    kitten->settings().app_state_dir = kitten->settings().app_data_dir = dir.path();
    kitten->api("ticks", ticks);
    kitten->start();
    Wire wire = Wire::local(*kitten);
    wire.send("GET /" + kitten->token() + "/ticks HTTP/1.1\r\n\r\n");
    CHECK(eventually([&] {
      loop.poll();
      return ticks.subscribers() == 1;
    }));
    kitten.reset();
    ticks.publish(101);
    loop.restart();
    loop.run();
    CHECK(ticks.subscribers() == 0);
    CHECK(ticks.bytes() == 0);
    CHECK(wire.rest().find("101") == std::string::npos);
  }
}
