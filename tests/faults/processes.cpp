// SPDX-License-Identifier: MIT
// processes.cpp: a service that is killed, stopped, interrupted, started twenty times at once, and one that runs out of
// descriptors, memory, threads or disk (64, 68, 147, 148, 149, 153).
//
//   processes SERVICE SHIM [--full]      the program of service.cpp, shim.cpp as a shared object; --full takes its time
//
// Prints a line for each case; the last one is `N passed, N failed`. What needs a right that is missing is skipped.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <random>

#include "support.hpp"

using namespace faults;

namespace {

// Calls a service again and again, whatever happens to it.
class Load {
 public:
  explicit Load(Service& service) : service_(service), thread_([this] { run(); }) {}
  ~Load() {
    done_ = true;
    thread_.join();
  }
  int answers() const { return answers_; }
  int wrong() const { return wrong_; }

 private:
  void run() {
    while (!done_) {
      const std::string url = contents(service_.state() + "/service.url");
      // Whole or not there.
      if (!url.empty() && (!url.starts_with("http://127.0.0.1:") || url.size() < 40)) ++wrong_;
      try {
        // Not TCP, whose port is another one after each start.
        Wire wire(service_, Wire::Over::unix_socket);
        if (!wire.open()) continue;
        for (int i = 0; i < 5; ++i) {
          wire.send(get("/meow"));
          const Answer answer = wire.answer();
          if (answer.complete) ++answers_;
          if (answer.complete && answer.body != "Meow world, meow!\n") ++wrong_;
          if (!answer.complete) break;
        }
      } catch (const std::exception&) {
        // It was killed in the middle of an answer.
      }
    }
  }

  Service& service_;
  std::atomic<bool> done_ = false;
  std::atomic<int> answers_ = 0, wrong_ = 0;
  std::thread thread_;
};

void kill_under_load(Tally& tally, const std::string& program, int times) {
  tally.test("(147) kill -9 under load, " + std::to_string(times) + " times", [&] {
    Service service(program);
    Load load(service);
    std::mt19937 random(147);
    for (int i = 0; i < times; ++i) {
      service.start();
      require(std::atoi(contents(service.state() + "/service.lock").c_str()) == service.process.pid(),
              "the lock file names another process");
      const int before = load.answers();
      require(eventually([&] { return load.answers() > before; }), "clients do not find it again");
      if (i % 4 == 0) require_alive(service);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
      service.process.kill();
      // Half of them in the middle of the start.
      if (i % 2 != 0) continue;
      Process starting = service.launch();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    }
    service.start();
    require_alive(service);
    require(load.wrong() == 0, "a wrong answer, or half a url file");
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
}

void start_together(Tally& tally, const std::string& program) {
  tally.test("(130) 20 starts at once in the foreground: one serves, 19 refuse", [&] {
    Service service(program);
    std::vector<Process> all;
    for (int i = 0; i < 20; ++i) all.push_back(service.launch());
    int refused = 0;
    require(eventually([&] {
              for (Process& one : all) {
                if (one.pid() == 0) continue;
                const auto code = one.ended();
                if (code) ++refused;
                require(!code || *code == 1, "exit code " + std::to_string(code.value_or(0)));
              }
              return refused == 19;
            }),
            std::to_string(refused) + " have refused: " + service.log());
    require(eventually([&] { return service.read_url(); }), "none serves");
    require_alive(service);
    std::size_t clear = 0, at = 0;
    const std::string log = service.log();
    while ((at = log.find("is already running", at)) != std::string::npos) ++at, ++clear;
    require(clear == 19, std::to_string(clear) + " say why");
    for (Process& one : all)
      if (one.pid() != 0) service.process = std::move(one);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
  tally.test("(130) 20 starts at once in the background: all say that it runs", [&] {
    Service service(program);
    std::vector<Process> all;
    for (int i = 0; i < 20; ++i) all.emplace_back(service.words({"start"}), service.log_path());
    int failed = 0;
    for (Process& one : all) failed += one.wait() != 0;
    const int code = Process(service.words({"stop"}), service.log_path()).wait();
    require(failed == 0, std::to_string(failed) + " failed: " + service.log());
    require(code == 0, "stop: " + service.log());
    require(eventually([&] { return service.files().empty(); }), "left behind: " + service.files());
  });
}

void stand_still(Tally& tally, const std::string& program, const std::string& shim, std::chrono::seconds pause) {
  tally.test("(153) SIGSTOP for " + std::to_string(pause.count()) + " s, SIGCONT", [&] {
    Service service(program, {"--patience=1"});
    service.start();
    const int descriptors = base_descriptors(service);
    std::vector<Wire> late;
    for (int i = 0; i < 10; ++i) {
      late.emplace_back(service, i % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket);
      late.back().send("GET /meow HT");
    }
    require_alive(service);
    service.process.signal(SIGSTOP);
    std::this_thread::sleep_for(pause);
    service.process.signal(SIGCONT);
    for (Wire& wire : late) require(wire.answer().status == 408 && wire.rest().empty(), "no 408");
    require_alive(service);
    late.clear();
    require_descriptors(service, descriptors);
    require(service.process.load() < 0.5, "it spins");
    require(service.stop() == 0, "exit code");
  });
  tally.test("(153) a wall clock that jumps an hour ahead and back changes nothing", [&] {
    const auto jumping = [&] {
      ::setenv("LD_PRELOAD", shim.c_str(), 1);
      ::setenv("FAULTS_CLOCK", "3600", 1);
    };
    Service service(program, {"--patience=30"}, jumping), hasty(program, {"--patience=0.3"}, jumping);
    service.start();
    hasty.start();
    Wire kept(service, Wire::Over::tcp), head(service, Wire::Over::tcp);
    head.send("GET /me");
    for (int i = 0; i < 50; ++i) {
      kept.send(post(service, "nap", "{\"seconds\": 0.01}"));
      require(kept.answer().status == 200, "a kept connection ends");
    }
    head.send("ow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    require(head.answer().status == 200, "a slow head times out");
    Wire slow(hasty, Wire::Over::tcp);
    slow.send("GET /me");
    require(slow.answer().status == 408, "a head that does not end does not time out");
    require(service.stop() == 0 && hasty.stop() == 0, "exit code");
  });
}

void interrupt(Tally& tally, const std::string& program) {
  tally.test("(68) 1000 signals under load", [&] {
    Service service(program);
    service.start();
    std::atomic<bool> done = false;
    std::thread storm([&] {
      for (int i = 0; i < 1000 && !done; ++i) {
        service.process.signal(i % 2 == 0 ? SIGUSR1 : SIGWINCH);
        std::this_thread::sleep_for(200us);
      }
      done = true;
    });
    std::string wrong;
    try {
      for (int i = 0; !done; ++i) {
        Wire wire(service, i % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket);
        require(wire.open(), "no connection");
        wire.send(post(service, "echo", "{\"value\": \"" + std::string(50'000, 'x') + "\"}") +
                  post(service, "nap", "{\"seconds\": 0}"));
        require(wire.answer().body.size() == 50'003, "a wrong answer");
        require(wire.answer().status == 200, "no second answer");
      }
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    done = true;
    storm.join();
    require(wrong.empty(), wrong);
    require(service.stop() == 0 && service.files().empty(), "exit code, or left behind: " + service.files());
  });
}

void limit(int resource, rlim_t value) {
  const rlimit both{value, value};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &both);
}

void run_out(Tally& tally, const std::string& program) {
  // Not idle, so that nobody of them makes room.
  const auto crowd_of = [](const Service& service, int count) {
    std::vector<Wire> crowd;
    for (int i = 0; i < count; ++i) {
      crowd.emplace_back(service, i % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket);
      if (crowd.back().open()) crowd.back().send("GET /meow HTTP");
    }
    return crowd;
  };
  const auto require_recovery = [](Service& service, int descriptors) {
    require(eventually([&] {
              Wire wire(service, Wire::Over::unix_socket);
              wire.send(get("/meow"));
              return wire.open() && wire.answer().status == 200;
            }),
            "it does not recover");
    require_alive(service);
    require_descriptors(service, descriptors);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  };
  tally.test("(148, 166) 100 clients, and room for 32: half of it is left to the program", [&] {
    Service service(program, {}, [] { limit(RLIMIT_NOFILE, 32); });
    service.start();
    const int descriptors = base_descriptors(service);
    std::vector<Wire> crowd = crowd_of(service, 100);
    require(eventually([&] { return service.process.descriptors() >= descriptors + 14; }), "there is no crowd");
    const double load = service.process.load();
    require(load < 0.5, "it spins: " + std::to_string(load));
    require(service.process.descriptors() <= descriptors + 16, "it has taken more than half");
    crowd.clear();
    require_recovery(service, descriptors);
  });
  tally.test("(148, 64) no descriptors: 100 clients, and the program leaves room for 32", [&] {
    Service service(program);
    service.start();
    const int descriptors = base_descriptors(service);
    // As if it had opened files since the start: the service's own bound is out of reach.
    const rlimit less{32, 32};
    require(::prlimit(service.process.pid(), RLIMIT_NOFILE, &less, nullptr) == 0, "prlimit");
    std::vector<Wire> crowd = crowd_of(service, 100);
    require(eventually([&] { return service.process.descriptors() >= 31; }), "there is room left");
    const double load = service.process.load();
    require(load < 0.5, "it spins: " + std::to_string(load));
    crowd.clear();
    require_recovery(service, descriptors);
  });
  tally.test("(148) no memory: requests and answers that are larger than what is left", [&] {
    Service service(program, {"--worker-http-request-max-size=100000000"});
    service.start();
    const int descriptors = base_descriptors(service);
    const rlim_t size = static_cast<rlim_t>(service.process.memory("VmSize") + 48 * 1024) * 1024;
    const rlimit less{size, RLIM_INFINITY};
    require(::prlimit(service.process.pid(), RLIMIT_AS, &less, nullptr) == 0, "prlimit");
    for (const Wire::Over over : {Wire::Over::tcp, Wire::Over::unix_socket}) {
      require(call(service, "big", "{\"bytes\": 200000000}", over).status == 500, "200 MB out of 48");
      Wire wire(service, over);
      // Refused, or ended without an answer: there is no memory to read it into.
      wire.send(post(service, "echo", "{\"value\": \"" + std::string(90'000'000, 'x') + "\"}"));
      const Answer answer = wire.answer();
      require(answer.status == 0 || answer.status >= 400, "90 MB out of 48");
      require_alive(service);
    }
    {
      std::vector<Wire> crowd;
      for (int i = 0; i < 100; ++i) {
        crowd.emplace_back(service, Wire::Over::unix_socket);
        crowd.back().send(post(service, "big", "{\"bytes\": 4000000}"));
      }
      std::this_thread::sleep_for(200ms);
    }
    require_alive(service);
    require(service.process.load() < 0.5, "it spins");
    require_descriptors(service, descriptors);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
  // The limit counts processes of a user and does not hold for root.
  const bool root = ::geteuid() == 0;
  tally.test("(148) no threads", [&] {
    constexpr uid_t nobody_else = 61'479;
    Service service(program, {}, [root] {
      if (root && (::setgid(nobody_else) != 0 || ::setuid(nobody_else) != 0)) ::_exit(126);
      limit(RLIMIT_NPROC, 0);
    });
    std::filesystem::create_directory(service.state());
    require(!root || (::chown(service.state().c_str(), nobody_else, nobody_else) == 0 &&
                      ::chmod(service.directory.path().c_str(), 0755) == 0),
            "chown");
    service.start();
    const int descriptors = base_descriptors(service);
    // A file is read on a thread.
    Wire wire(service, Wire::Over::unix_socket);
    require(wire.open(), "no connection");
    const std::string request = post(service, "cat", "{\"file\": \"_FD_BRE_MAGIC_-rb\"}");
    const int fd = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    iovec part{const_cast<char*>(request.data()), request.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    require(::sendmsg(wire.fd(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()), "sendmsg");
    ::close(fd);
    require(wire.answer().status == 500, "no error");
    wire.close();
    require_alive(service);
    require_descriptors(service, descriptors);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
}

void fill_disk(Tally& tally, const std::string& program) {
  tally.test("(149) a log that cannot be written costs no service", [&] {
    const TempDir logs;
    constexpr rlim_t longest = 4096;  // of any file, and the log has that length already
    std::ofstream(logs / "log") << std::string(longest, '\n');
    Service service(program, {"--worker-log-file=" + (logs / "log")}, [] { limit(RLIMIT_FSIZE, longest); });
    service.start();
    for (int i = 0; i < 50; ++i) require(call(service, "echo", "{\"value\": 1}").status == 200, "no answer");
    Wire wire(service, Wire::Over::tcp);
    wire.send("nonsense\r\n\r\n");
    require(wire.answer().status == 400, "no refusal");
    require_alive(service);
    require(contents(logs / "log").size() == longest, "the log has grown");
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
  {
    const TempDir data;
    Service service(program, {"--app-data-dir=" + data.path()});
    // A node of our own: the system's one must not be at risk.
    const std::string full = data / "full.cfg";
    if (::mknod(full.c_str(), S_IFCHR | 0600, makedev(1, 7)) != 0) {
      tally.skip("(149) config --save to a full device", "mknod is not allowed");
    } else {
      tally.test("(149) config --save to a full device is refused", [&] {
        service.start();
        const Answer answer = call(service, "config", "{\"save\": \"full.cfg\"}");
        require(answer.status == 400, "status " + std::to_string(answer.status) + " " + answer.body);
        struct stat info {};
        require(::stat(full.c_str(), &info) == 0 && S_ISCHR(info.st_mode), "the device was replaced");
        require_alive(service);
      });
    }
  }
  for (const bool quite_full : {false, true}) {
    const std::string name =
        std::string("(149) a start in a directory without room for ") + (quite_full ? "a byte" : "another file");
    Service service(program);
    std::filesystem::create_directory(service.state());
    if (::mount("tmpfs", service.state().c_str(), "tmpfs", 0, "size=4k,mode=700") != 0) {
      tally.skip(name, "mounting is not allowed");
      continue;
    }
    tally.test(name, [&] {
      if (quite_full) std::ofstream(service.state() + "/filler") << std::string(4096, 'x') << std::flush;
      Process starting = service.launch();
      const int code = starting.wait();
      require(code != 0 && code < 128, "exit code " + std::to_string(code));
      require(service.log().find("No space left on device") != std::string::npos,
              "it does not say why: " + service.log());
      require(service.files() == (quite_full ? "filler " : ""), "left behind: " + service.files());
      // Once there is room it starts.
      ::mount("tmpfs", service.state().c_str(), "tmpfs", MS_REMOUNT, "size=1m,mode=700");
      service.start();
      require_alive(service);
      require(service.stop() == 0, "exit code");
    });
    service.process.kill();
    ::umount(service.state().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  const bool full = argc > 3 && std::string_view(argv[3]) == "--full";
  const std::string program = argv[1], shim = argv[2];
  Tally tally;
  kill_under_load(tally, program, full ? 100 : 10);
  start_together(tally, program);
  stand_still(tally, program, shim, full ? 20s : 2s);
  interrupt(tally, program);
  run_out(tally, program);
  fill_disk(tally, program);
  return tally.end();
}
