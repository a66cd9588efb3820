// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("service/side_effects") {
  std::string mask_text(const sigset_t& mask) {
    std::string text;
    for (int number = 1; number < NSIG; ++number) text += ::sigismember(&mask, number) == 1 ? '1' : '0';
    return text;
  }

  // What belongs to the host, by name.
  using State = std::map<std::string, std::string>;

  // What may not change even while a service runs, as the calling thread sees it.
  State state_now() {
    State state;
    for (int number = 1; number < NSIG; ++number) {
      struct sigaction action {};
      if (::sigaction(number, nullptr, &action) != 0) continue;
      std::ostringstream text;
      text << reinterpret_cast<const void*>(action.sa_handler) << " " << action.sa_flags << " "
           << mask_text(action.sa_mask);
      state["signal " + std::to_string(number)] = text.str();
    }
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    state["signal mask"] = mask_text(mask);
    ::sigpending(&mask);
    state["pending signals"] = mask_text(mask);
    const mode_t umask = ::umask(077);
    ::umask(umask);
    state["umask"] = std::to_string(umask);
    state["C locale"] = std::setlocale(LC_ALL, nullptr);
    state["C++ locale"] = std::locale().name();
    for (char** entry = environ; *entry != nullptr; ++entry) {
      // Values stay out of the logs.
      const std::string variable = *entry, name = variable.substr(0, variable.find('='));
      state["variable " + name] = std::to_string(std::hash<std::string>()(variable));
    }
    state["directory"] = std::filesystem::current_path().string();
    for (const int fd : {0, 1, 2}) state["flags of standard streams"] += std::to_string(::fcntl(fd, F_GETFL)) + " ";
    for (const auto resource : {RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_STACK, RLIMIT_AS}) {
      rlimit limit{};
      ::getrlimit(resource, &limit);
      state["limits"] += std::to_string(limit.rlim_cur) + "/" + std::to_string(limit.rlim_max) + " ";
    }
    state["process group"] = std::to_string(::getpgrp()) + " " + std::to_string(::getsid(0));
    itimerval timer{};
    ::getitimer(ITIMER_REAL, &timer);
    state["alarm"] = std::to_string(timer.it_value.tv_sec) + " " + std::to_string(timer.it_interval.tv_sec);
    std::ostringstream hooks;
    hooks << reinterpret_cast<const void*>(std::get_terminate())
          << reinterpret_cast<const void*>(std::get_new_handler());
    state["hooks of the language"] = hooks.str();
    int status = 0;
    const pid_t child = ::waitpid(-1, &status, WNOHANG);
    state["children"] = child == -1 && errno == ECHILD ? "none" : "some";
    return state;
  }

  // What may not be different afterwards.
  State threads_now() {
    std::thread([] {}).join();  // a sanitizer adds a thread of its own to the first one
    State threads;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
      threads["thread " + entry.path().filename().string()] = contents(entry.path().string() + "/comm");
    return threads;
  }
  std::string differences(const State& before, const State& after) {
    std::string text;
    for (const auto& [name, value] : before) {
      const auto found = after.find(name);
      if (found == after.end()) text += name + " has gone\n";
      if (found != after.end() && found->second != value)
        text += name + ": " + value + " is now " + found->second + "\n";
    }
    for (const auto& [name, value] : after) {
      if (before.count(name) == 0) text += name + " is new: " + value + "\n";
    }
    return text;
  }

  // Catches what is printed, whoever prints it.
  class Captured {
   public:
    Captured() {
      std::cout.flush();
      std::fflush(nullptr);
      for (const int fd : {1, 2}) {
        saved_.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
        const kt::Fd file(::open(name(fd).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        ::dup2(file.get(), fd);
      }
    }
    ~Captured() { end(); }
    std::string end() {
      if (saved_.empty()) return {};
      std::cout.flush();
      std::fflush(nullptr);
      for (const int fd : {1, 2}) ::dup2(saved_[static_cast<std::size_t>(fd - 1)].get(), fd);
      saved_.clear();
      return contents(name(1)) + contents(name(2));
    }

   private:
    std::string name(int fd) const { return files_ / std::to_string(fd); }
    TempDir files_;
    std::vector<kt::Fd> saved_;
  };

  std::atomic<int> pipe_signals = 0;

  // A host that handles SIGPIPE itself and so learns of each one.
  class CountsPipeSignals {
   public:
    CountsPipeSignals() {
      pipe_signals = 0;
      struct sigaction action {};
      action.sa_handler = [](int) { ++pipe_signals; };
      ::sigaction(SIGPIPE, &action, &before_);
    }
    ~CountsPipeSignals() { ::sigaction(SIGPIPE, &before_, nullptr); }

   private:
    struct sigaction before_ {};
  };

  // A service with a bit of everything, and peers of every kind.
  struct Busy : Home {
    explicit Busy(const State& at_first) {
      kitten.api("look", [at_first] { return differences(at_first, state_now()); });
      kitten.api("later", []() -> kt::Task<int> {
        co_await kt::sleep_for(1ms);
        co_return 7;
      });
      kitten.api("items", []() -> kt::Generator<int> {
        for (int i = 0; i < 3; ++i) {
          co_yield i;
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("endless", [this]() -> kt::Generator<std::string> {
        ++began;  // not those whose reader has gone before
        const AtEnd at_end{&ended};
        for (;;) {
          co_yield std::string(100'000, 'x');
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api(
          "write", [](kt::Fd file) -> kt::Task<void> { co_await kt::async_write_all(file, std::string(100'000, 'x')); },
          kt::arg("file"));
      kitten.api("events", topic);
      kitten.api("fails", [] { throw kt::NotFound("nothing"); });
      kitten.on_start([] {});
      kitten.on_shutdown([]() -> kt::Task<> { co_await kt::sleep_for(1ms); });
    }
    struct AtEnd {
      std::atomic<int>* count;
      ~AtEnd() { ++*count; }
    };
    // By a client's thread, while the service runs.
    void exercise(const kt::Client& client) {
      looked += client.call<std::string>("look");
      if (client.call<int>("later") != 7) looked += "later is wrong\n";
      int sum = 0;
      for (const int item : client.stream<int>("items")) sum += item;
      if (sum != 3) looked += "items are wrong\n";
      try {
        client.call("fails");
        looked += "no error\n";
      } catch (const kt::NotFound&) {
      }
      int event = 0;
      std::thread publisher([&] {
        while (event == 0 && topic.subscribers() == 0) std::this_thread::sleep_for(1ms);
        topic.publish(1);
      });
      for (const int item : client.stream<int>("events")) {
        event = item;
        break;
      }
      publisher.join();
    }
    void peers_vanish() {
      for (int i = 0; i < 3; ++i) {
        for (const bool tcp : {true, false}) {
          Wire wire = tcp ? Wire::tcp(kitten) : Wire::local(kitten);
          const linger at_once{1, 0};
          if (i == 1) ::setsockopt(wire.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
          wire.send(get(path("endless")));
          if (i != 2) CHECK(wire.until("xxx"));
        }
      }
      const kt::Client client = kitten.connect();
      for (int i = 0; i < 2; ++i) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ::close(ends[0]);
        try {
          if (i == 0) client.call("write", kt::File(kt::Fd(ends[1]), "wb"));
          if (i == 1) client.call("endless", kt::File(kt::Fd(ends[1]), "wb"), kt::arg("reply_to_first_fd") = 0);
          if (i == 0) looked += "written into a closed pipe\n";
        } catch (const kt::Error&) {
        }
      }
      CHECK(eventually([&] { return began >= 5 && ended == began; }));
    }

    kt::Topic<int> topic;
    std::atomic<int> began = 0, ended = 0;
    std::string looked;
  };

  // A thread of the host's on which handlers run.
  class HostThread {
   public:
    explicit HostThread(kt::Kitten& kitten) : thread_([this] { run(); }) {
      kitten.run_handlers_on([this](std::function<void()> work) { push(std::move(work)); });
    }
    ~HostThread() {
      push(nullptr);
      thread_.join();
    }
    // How many functions have thrown.
    int thrown() const { return thrown_; }

   private:
    void push(std::function<void()> work) {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
      changed_.notify_one();
    }
    void run() {
      for (;;) {
        std::function<void()> work;
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [this] { return !queue_.empty(); });
          work = std::move(queue_.front());
          queue_.pop_front();
        }
        if (!work) return;
        try {
          work();
        } catch (...) {
          ++thrown_;
        }
      }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> queue_;
    std::atomic<int> thrown_ = 0;
    std::thread thread_;
  };

  struct Way {
    const char* name;
    // Starts the service, makes it run until `done`, and stops it.
    void (*serve)(Busy& busy, const std::atomic<bool>& done);
  };
  const Way ways[] = {{"on a thread of its own",
                       [](Busy& busy, const std::atomic<bool>& done) {
                         busy.start();
                         CHECK(eventually([&] { return done.load(); }));
                         busy.kitten.stop();
                       }},
                      {"in the host's own loop",
                       [](Busy& busy, const std::atomic<bool>& done) {
                         busy.kitten.start();
                         CHECK(eventually([&] {
                           busy.kitten.poll_for(1ms);
                           return done.load();
                         }));
                         busy.kitten.stop();
                       }},
                      {"with handlers on the host's thread", [](Busy& busy, const std::atomic<bool>& done) {
                         const HostThread host(busy.kitten);
                         busy.start();
                         CHECK(eventually([&] { return done.load(); }));
                         busy.kitten.stop();
                       }}};

  TEST_CASE("a service and its clients leave their process as it was, whoever runs the service") {
    // Processes of earlier tests that are still ending.
    CHECK(eventually([] { return ::waitpid(-1, nullptr, WNOHANG) < 0; }));
    for (const Way& way : ways) {
      CAPTURE(std::string(way.name));
      const CountsPipeSignals counts;
      Captured captured;
      const State before = state_now(), threads = threads_now();
      const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
      std::string looked;
      {
        Busy busy(before);
        std::atomic<bool> done = false;
        std::thread user([&] {
          if (!eventually([&] { return busy.kitten.running(); })) return;
          const bool own = way.serve != ways[2].serve;
          busy.looked += differences(before, state_now());
          busy.exercise(busy.kitten.connect());
          if (own) busy.exercise(busy.kitten.loopback());
          busy.peers_vanish();
          busy.looked += differences(before, state_now());
          done = true;
        });
        way.serve(busy, done);
        user.join();
        looked = busy.looked;
      }
      const State after = state_now();
      CHECK(captured.end() == "");
      CHECK(looked == "");
      CHECK(differences(before, after) == "");
      CHECK(eventually([&] { return threads_now().size() == threads.size(); }));
      CHECK(differences(threads, threads_now()) == "");
      CHECK(open_descriptors() == descriptors);
      CHECK(pipe_signals == 0);
    }
  }

  TEST_CASE("a service on the host's Asio loop leaves the process as it was, once the loop has gone") {
    const CountsPipeSignals counts;
    Captured captured;
    const State before = state_now(), threads = threads_now();
    const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
    std::string looked;
    {
      TempDir files;
      asio::io_context loop;
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      kitten.api("look", [&] { return differences(before, state_now()); });
      kitten.start();
      std::thread user([&] {
        const kt::Client client = kitten.connect();
        looked = client.call<std::string>("look");
        kitten.stop();
      });
      loop.run();
      user.join();
      CHECK(!kitten.running());
    }
    const State after = state_now();
    CHECK(captured.end() == "");
    CHECK(looked == "");
    CHECK(differences(before, after) == "");
    CHECK(eventually([&] { return threads_now().size() == threads.size(); }));
    CHECK(differences(threads, threads_now()) == "");
    CHECK(open_descriptors() == descriptors);
    CHECK(pipe_signals == 0);
  }

  TEST_CASE("a client that starts a service leaves no child and no change behind") {
    TempDir files;
    ::setenv(as_service, "service", 1);
    const CountsPipeSignals counts;
    Captured captured;
    const State before = state_now(), threads = threads_now();
    const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
    {
      kt::Kitten kitten("prompting", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      const kt::Client client = kitten.connect(kt::auto_start);
      client.call("measure");
      client.call("quitquitquit");
    }
    const State after = state_now();
    CHECK(captured.end() == "");
    CHECK(differences(before, after) == "");
    CHECK(differences(threads, threads_now()) == "");
    CHECK(open_descriptors() == descriptors);
    CHECK(pipe_signals == 0);
    ::unsetenv(as_service);
  }

  TEST_CASE("two services in one program serve each other") {
    Home first("First"), second("Second");
    first.kitten.api("name", [] { return "first"; });
    kt::ClientOptions where;
    where.state_directory = first.state.path();
    second.kitten.api("ask", [&]() -> kt::Task<std::string> {
      const kt::Client client = co_await kt::Client::async_connect("testkitten", "First", where);
      co_return co_await client.async_call<std::string>("name") + " and second";
    });
    first.start();
    second.start();
    CHECK(second.kitten.connect().call<std::string>("ask") == "first and second");
    CHECK(first.kitten.token() != second.kitten.token());
    CHECK(first.kitten.url() != second.kitten.url());
    first.kitten.stop();
    CHECK(second.result("ping").contains("pong"));
  }

  // ---- what handlers throw

  // It does not see how the library of g++ counts the owners of an exception that goes to another thread.
  constexpr bool thread_sanitizer = KETTLINGAR_TEST_WITH_TSAN != 0;

  // Throws as `how` says.
  void throw_it(const std::string& how) {
    if (how == "exception") throw std::runtime_error("a mishap");
    if (how == "number") throw 42;
    if (how == "system") throw std::system_error(EPERM, std::system_category());
  }

  // Conversions of its own that throw what is no std::exception.
  struct Unwritable {
    int value = 0;
  };
  void to_json(nlohmann::json&, const Unwritable&) { throw 43; }

  struct Throwing {
    explicit Throwing(kt::Kitten& kitten) {
      kitten.api("plain", throw_it, kt::arg("how"));
      kitten.api(
          "task",
          [](std::string how) -> kt::Task<int> {
            co_await kt::sleep_for(1ms);
            throw_it(how);
            co_return 1;
          },
          kt::arg("how"));
      kitten.api(
          "items",
          [](std::string how, int after) -> kt::Generator<int> {
            for (int i = 0; i < after; ++i) co_yield i;
            throw_it(how);
          },
          kt::arg("how"), kt::arg("after") = 0);
      kitten.api("result", [] { return Unwritable{}; });
      kitten.api("unwritable", []() -> kt::Generator<Unwritable> {
        const Unwritable item{};
        co_yield item;
      });
      kitten.api(
          "pass_on",
          [](kt::Request& request, std::string how) {
            const kt::Socket taken = request.take_connection();
            throw_it(how);
          },
          kt::arg("how"));
      kitten.fallback([] { throw_it("number"); });
    }
  };
  void call_all(Home & home, bool pass_on) {
    for (const std::string how : {"exception", "number", "system"}) {
      const std::string arguments = json{{"how", how}}.dump();
      for (const char* method : {"plain", "task", "items"}) {
        CAPTURE(std::string(method));
        CHECK(home.call(method, arguments).status == 500);
      }
      const Answer late = home.call("items", json{{"how", how}, {"after", 2}}.dump());
      CHECK(late.chunks.size() >= 2);
      CHECK(!late.end_mark);
      if (pass_on) {
        Wire wire = Wire::local(home.kitten);
        wire.send(home.post(home.path("pass_on"), arguments));
        CHECK(wire.closed());
      }
    }
    for (const char* method : {"result", "unknown"}) CHECK(home.call(method).status == 500);
    CHECK(!home.call("unwritable").end_mark);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("what handlers throw stays in their calls: in poll()") {
    Home home;
    const Throwing handlers(home.kitten);
    home.kitten.start();
    std::atomic<bool> done = false;
    std::thread user([&] {
      call_all(home, true);
      done = true;
    });
    CHECK_NOTHROW(CHECK(eventually([&] {
      home.kitten.poll();
      return done.load();
    })));
    user.join();
    for (const std::string method : {"plain", "task", "items", "pass_on", "unknown"})
      CHECK(contains(home.log(), "internal: " + method + ": an exception of a type not derived"));
  }

  TEST_CASE("what handlers throw stays in their calls: on the host's thread, and in loopback calls" *
            doctest::skip(thread_sanitizer)) {
    Home home;
    const Throwing handlers(home.kitten);
    const HostThread host(home.kitten);
    home.start();
    call_all(home, false);
    CHECK(host.thrown() == 0);
    for (const std::string how : {"exception", "number"}) {
      for (const char* method : {"plain", "task", "items"})
        CHECK_THROWS_AS(home.kitten.loopback().call(method, how), kt::Error);
    }
    CHECK_THROWS_AS(home.kitten.loopback().call("result"), kt::Error);
  }

  TEST_CASE("what the program's own work in the service's loop throws comes out of poll(), and is logged elsewhere") {
    Home home;
    asio::any_io_executor loop;
    const auto post_bad_work = [&] { asio::post(loop, [] { throw std::bad_alloc(); }); };
    home.kitten.on_start([&]() -> kt::Task<> {
      loop = co_await asio::this_coro::executor;
      post_bad_work();
      co_await kt::sleep_for(1ms);
    });
    const auto logged = [&] {
      int count = 0;
      std::istringstream lines(home.log());
      for (std::string line; std::getline(lines, line);) count += line.ends_with("internal: std::bad_alloc") ? 1 : 0;
      return count;
    };
    CHECK_NOTHROW(home.kitten.start());
    CHECK(logged() == 1);
    post_bad_work();
    CHECK_THROWS_AS(home.kitten.poll(), std::bad_alloc);
    post_bad_work();
    CHECK_THROWS_AS(home.kitten.poll_for(patience), std::bad_alloc);
    CHECK(logged() == 1);
    post_bad_work();
    CHECK_NOTHROW(home.kitten.stop());
    CHECK(!home.kitten.running());
    CHECK(logged() == 2);
    home.start();
    post_bad_work();
    CHECK(home.result("ping").contains("pong"));
    home.kitten.stop();
    CHECK(logged() == 4);
  }

  TEST_CASE("an on_start that throws is a start that fails, whatever it throws, and leaves nothing behind") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      bool fine = false;
      home.kitten.on_start([&] {
        if (!fine) throw_it(how);
      });
      CHECK_THROWS_AS(home.kitten.start_thread(), kt::StartError);
      CHECK_THROWS_AS(home.kitten.start(), kt::StartError);
      CHECK(!home.kitten.try_start().empty());
      CHECK(!home.kitten.running());
      CHECK(!std::filesystem::exists(home.state / "Kitty.url"));
      fine = true;
      home.start();
      CHECK(home.result("ping").contains("pong"));
    }
  }

  TEST_CASE("an on_start that throws on the host's loop ends the service, not the loop") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      TempDir files;
      asio::io_context loop;
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      kitten.on_start([&] { throw_it(how); });
      kitten.start();
      CHECK_NOTHROW(loop.run());
      CHECK(!kitten.running());
      CHECK(!std::filesystem::exists(files / "Kitty.sock"));
    }
  }

  TEST_CASE("an on_shutdown that throws is logged, whatever it throws, and the service ends") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      home.kitten.on_shutdown([&] { throw_it(how); });
      home.kitten.start();
      CHECK_NOTHROW(home.kitten.stop());
      CHECK(!home.kitten.running());
      CHECK(contains(home.log(), "on_shutdown: "));
      home.start();
      home.kitten.stop();
      CHECK(!home.kitten.running());
    }
  }

  TEST_CASE("hooks of options, authenticators and routers that throw refuse, whatever they throw") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      std::string throws_now;
      std::string wanted = "x";
      home.kitten.option("wanted", wanted, "", [&] { throw_it(how); });
      home.kitten.authenticator([&](const kt::Request& request) {
        if (throws_now == "authenticator") throw_it(how);
        return request.authenticated();
      });
      home.kitten.router([&](const kt::Request&) -> std::optional<kt::RouteTo> {
        if (throws_now == "router") throw_it(how);
        return std::nullopt;
      });
      home.kitten.start();
      const auto answer = [&](const std::string& request) {
        Wire wire = Wire::tcp(home.kitten);
        wire.send(request);
        for (int i = 0; i < 2000 && wire.fd() >= 0; ++i) {
          CHECK_NOTHROW(home.kitten.poll());
          pollfd entry{wire.fd(), POLLIN, 0};
          if (::poll(&entry, 1, 1) > 0) break;
        }
        return wire.answer().status;
      };
      CHECK(answer(home.post(home.path("config"), R"({"key": "wanted", "val": "y"})")) == 500);
      for (const char* place : {"authenticator", "router"}) {
        throws_now = place;
        CHECK(answer(home.get(home.path("ping"))) == 403);
      }
      throws_now.clear();
      CHECK(answer(home.get(home.path("ping"))) == 200);
    }
  }
}
