// SPDX-License-Identifier: MIT
// crowd.cpp: many clients at once, most of them hostile.
//
//   crowd load SERVICE [SECONDS]   512 connections, of which 400 are slow, half-closed, send garbage or too much. The
//   other
//                                  112 see no error; how much longer they wait than alone is printed. Afterwards
//                                  descriptors are as before, and a second crowd needs no more memory than the first.
//   crowd soak SERVICE [SECONDS]   mixed calls for so long, 1 % of them hostile: memory must not grow, descriptors must
//   be
//                                  as before, no zombies; neither the log nor anything that strangers were told
//                                  contains the token, a path, a name of a type, or the words of an exception
//
// The last line is `N passed, N failed`.
#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>

#include "support.hpp"

using namespace faults;

namespace {

constexpr int honest_count = 112, hostile_count = 400;

// What strangers were told, and what must not be in it.
class Overheard {
 public:
  void add(std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes_.size() < 16 * 1024 * 1024) bytes_ += bytes;
  }
  std::string bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  std::mutex mutex_;
  std::string bytes_;
};

std::string betrayed(const std::string& text, const Service& service, bool exceptions) {
  std::vector<std::string> secrets{
      service.token, service.directory.path(), "std::",          "kettlingar::", "nlohmann",
      "basic_json",  "St13runtime_error",      "[json.exception"};
  if (exceptions) secrets.push_back("secret words");
  for (const std::string& secret : secrets) {
    const std::size_t at = text.find(secret);
    if (at != std::string::npos) return text.substr(at < 100 ? 0 : at - 100, 200);
  }
  return {};
}

// The lines of the log, without what the command said to whoever started it.
std::string log_of(const Service& service) {
  std::istringstream lines(service.log());
  std::string log;
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("faults/service: Running at")) log += line + "\n";
  return log;
}

// One hostile connection after another.
class Villain {
 public:
  Villain(const Service& service, unsigned seed, Overheard& overheard)
      : service_(service), random_(seed), overheard_(overheard) {}

  // Does a little harm, and never waits.
  void act() {
    if (!wire_.open()) {
      wire_ = Wire(service_, random_() % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket);
      if (!wire_.open()) return;
      ::fcntl(wire_.fd(), F_SETFL, O_NONBLOCK);
      kind_ = static_cast<unsigned>(random_() % 6);
      steps_ = 0;
    }
    char block[4096];
    for (;;) {
      const ssize_t n = ::recv(wire_.fd(), block, sizeof block, MSG_DONTWAIT);
      if (n > 0) overheard_.add(std::string_view(block, static_cast<std::size_t>(n)));
      if (n > 0) continue;
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
      return wire_.close();
    }
    ++steps_;
    if (!harm() || steps_ > 200) random_() % 2 == 0 ? wire_.reset() : wire_.close();
  }

 private:
  bool put(std::string_view bytes) {
    const ssize_t n = ::send(wire_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return n > 0 || errno == EAGAIN;
  }
  bool harm() {
    static const std::string request = get("/meow");
    switch (kind_) {
      case 0:  // a byte now and then
        return put(request.substr(static_cast<std::size_t>(steps_ - 1) % (request.size() - 4), 1));
      case 1:  // says the half of it, and no more
        if (steps_ == 1) return put(request.substr(0, 20)) && ::shutdown(wire_.fd(), SHUT_WR) == 0;
        return true;
      case 2: {  // noise
        std::string noise(64, '\0');
        for (char& c : noise) c = static_cast<char>(random_());
        return put(noise);
      }
      case 3:  // a body without end
        if (steps_ == 1) return put("POST /meow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        return put("1000\r\n" + std::string(0x1000, 'x') + "\r\n");
      case 4:  // a head without end
        return put(steps_ == 1 ? "GET /meow HTTP/1.1\r\n" : "X-Y: " + std::string(500, 'z') + "\r\n");
      default:  // whatever a stranger may not, in one go
        if (steps_ == 1)
          return put(get("/throws") + get("/0123456789/echo") + get("/help") + get("/..%2f..%2fetc/passwd") +
                     "POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
        return steps_ < 20;
    }
  }

  const Service& service_;
  std::mt19937 random_;
  Overheard& overheard_;
  Wire wire_;
  unsigned kind_ = 0;
  int steps_ = 0;
};

// The hostile part of the crowd, on threads of its own.
class Mob {
 public:
  Mob(const Service& service, Overheard& overheard) {
    constexpr int threads = 4;
    for (int t = 0; t < threads; ++t) {
      threads_.emplace_back([this, &service, &overheard, t] {
        std::vector<Villain> villains;
        for (int i = 0; i < hostile_count / threads; ++i)
          villains.emplace_back(service, static_cast<unsigned>(t * 1000 + i), overheard);
        while (!done_) {
          for (Villain& villain : villains) villain.act();
          std::this_thread::sleep_for(20ms);
        }
      });
    }
  }
  ~Mob() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> done_ = false;
  std::vector<std::thread> threads_;
};

// Honest calls over kept connections, one after the other in each of a few threads. Returns the median wait in
// microseconds. Throws what any of them has to complain about.
double honest_median(const Service& service, std::chrono::milliseconds during) {
  constexpr int threads = 4;
  std::vector<std::thread> all;
  std::mutex mutex;
  std::vector<double> waits;
  std::string complaint;
  const auto end = Clock::now() + during;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      std::vector<double> mine;
      try {
        std::vector<Wire> wires;
        for (int i = 0; i < honest_count / threads; ++i) {
          wires.emplace_back(service, i % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket);
          require(wires.back().open(), "no connection");
        }
        for (int i = t; Clock::now() < end; ++i) {
          for (Wire& wire : wires) {
            const auto begin = Clock::now();
            require(wire.send(i % 2 == 0 ? get("/meow") : post(service, "echo", "{\"value\": 7}")), "cannot send");
            const Answer answer = wire.answer();
            require(answer.status == 200 && answer.complete, "status " + std::to_string(answer.status));
            mine.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
          }
          std::this_thread::sleep_for(2ms);
        }
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        complaint = error.what();
      }
      const std::lock_guard lock(mutex);
      waits.insert(waits.end(), mine.begin(), mine.end());
    });
  }
  for (std::thread& thread : all) thread.join();
  require(complaint.empty(), "an honest client sees an error: " + complaint);
  require(!waits.empty(), "nobody was served");
  const auto middle = waits.begin() + static_cast<std::ptrdiff_t>(waits.size() / 2);
  std::nth_element(waits.begin(), middle, waits.end());
  return *middle;
}

void load(Tally& tally, const std::string& program, double seconds) {
  Service service(program, {"--patience=10"});
  service.start();
  const int descriptors = base_descriptors(service);
  const std::chrono::milliseconds during(static_cast<long>(seconds * 1000));
  Overheard overheard;
  long memory[2] = {};
  tally.test("400 hostile and 112 honest clients: no error for the honest", [&] {
    for (long& kilobytes : memory) {
      const double alone = honest_median(service, during);
      double crowded;
      {
        const Mob mob(service, overheard);
        // Until they are all there.
        require(eventually([&] { return service.process.descriptors() > descriptors + hostile_count * 9 / 10; }),
                "the crowd does not come together");
        crowded = honest_median(service, during);
      }
      require_descriptors(service, descriptors);
      kilobytes = service.process.memory("VmRSS");
      std::printf("         median wait %.0f us alone, %.0f us in the crowd: ratio %.2f; %ld KiB resident afterwards\n",
                  alone, crowded, crowded / alone, kilobytes);
    }
  });
  tally.test("a second crowd needs no more memory than the first", [&] {
    // What one connection may hold is far less than this.
    require(memory[1] < memory[0] + 8 * 1024, std::to_string(memory[1] - memory[0]) + " KiB more");
  });
  tally.test("strangers are told nothing", [&] {
    const std::string told = overheard.bytes();
    require(told.find("HTTP/1.1 400") != std::string::npos && told.find("HTTP/1.1 403") != std::string::npos,
            "nothing was overheard");
    const std::string secret = betrayed(told, service, true);
    require(secret.empty(), "they were told " + secret);
  });
  tally.test("the log tells no secrets", [&] {
    const std::string secret = betrayed(log_of(service), service, false);
    require(secret.empty(), "the log contains " + secret);
  });
  tally.test("the service stops in order", [&] {
    require_alive(service);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
}

// ---- the soak

// One call of some kind; throws if it goes wrong.
void mixed_call(const Service& service, std::mt19937& random, Wire& kept) {
  const auto over = random() % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket;
  const auto fine = [](const Answer& answer) {
    require(answer.status == 200 && answer.complete, "status " + std::to_string(answer.status));
  };
  switch (random() % 8) {
    case 0:
    case 1:
    case 2:  // over a kept connection
      if (!kept.open()) kept = Wire(service, over);
      require(kept.send(post(service, "echo", "{\"value\": [1, 2.5, \"x\", null]}")), "cannot send");
      return fine(kept.answer());
    case 3:
      return fine(call(service, "big", "{\"bytes\": 300000}", over));
    case 4:
      return fine(call(service, "count", "{\"n\": 100}", over));
    case 5: {  // a stream that is left
      Wire wire(service, over);
      wire.send(post(service, "drip"));
      require(wire.until("\r\n\r\n"), "no stream begins");
      return;
    }
    case 6: {  // pipelining
      Wire wire(service, over);
      std::string requests;
      for (int i = 0; i < 10; ++i) requests += i % 2 == 0 ? get("/meow") : post(service, "nap", "{\"seconds\": 0}");
      wire.send(requests);
      for (int i = 0; i < 10; ++i) fine(wire.answer());
      return;
    }
    default: {  // an error
      const Answer answer = call(service, random() % 2 == 0 ? "throws" : "unknown", "{}", over);
      require(answer.status == 500 || answer.status == 404, "status " + std::to_string(answer.status));
    }
  }
}

int zombies(pid_t parent) {
  int count = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    if (entry.path().filename().string().find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string stat = contents(entry.path() / "stat");
    const std::size_t name = stat.rfind(')');
    if (name == std::string::npos || stat.compare(name, 4, ") Z ") != 0) continue;
    count += std::atoi(stat.c_str() + name + 4) == parent;
  }
  return count;
}

// Kilobytes a minute: the line through the second half of what was seen each second.
double slope(const std::vector<long>& samples) {
  const std::size_t from = samples.size() / 2, n = samples.size() - from;
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (std::size_t i = 0; i < n; ++i) {
    mean_x += static_cast<double>(i) / static_cast<double>(n);
    mean_y += static_cast<double>(samples[from + i]) / static_cast<double>(n);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(i) - mean_x;
    xy += x * (static_cast<double>(samples[from + i]) - mean_y);
    xx += x * x;
  }
  return xx > 0 ? 60 * xy / xx : 0;
}

void soak(Tally& tally, const std::string& program, double seconds) {
  // All of its log, unless that is too much.
  Service service(program, {seconds > 60 ? "--worker-log-level=30" : "--worker-log-level=0"});
  service.start();
  const int descriptors = base_descriptors(service);
  Overheard overheard;
  std::atomic<bool> done = false;
  std::atomic<long> calls = 0, hostile = 0;
  std::mutex mutex;
  std::string complaint;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t + 156);
      Villain villain(service, t, overheard);
      Wire kept;
      while (!done) {
        try {
          // A villain needs some steps for a request.
          if (random() % 100 == 0) {
            for (int i = 0; i < 20; ++i) villain.act();
            ++hostile;
          } else {
            mixed_call(service, random, kept);
            ++calls;
          }
        } catch (const std::exception& error) {
          const std::lock_guard lock(mutex);
          complaint = error.what();
          done = true;
        }
      }
    });
  }
  std::vector<long> memory;
  int undead = 0, most_descriptors = 0;
  const auto end = Clock::now() + std::chrono::milliseconds(static_cast<long>(seconds * 1000));
  while (Clock::now() < end && !done) {
    std::this_thread::sleep_for((std::min)(1000ms, std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now())));
    memory.push_back(service.process.memory("VmRSS"));
    most_descriptors = (std::max)(most_descriptors, service.process.descriptors());
    undead = (std::max)(undead, zombies(service.process.pid()));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  std::printf(
      "         %ld calls and %ld hostile ones; resident %ld KiB at first, %ld at last, slope %.1f KiB a minute; at "
      "most %d "
      "descriptors; %d zombies\n",
      calls.load(), hostile.load(), memory.front(), memory.back(), slope(memory), most_descriptors, undead);
  tally.test("all calls get their answers", [&] { require(complaint.empty(), complaint); });
  tally.test("memory does not grow", [&] {
    // Allocators settle in the first minutes, and a loaded machine makes it noisy.
    const double growth = slope(memory) * seconds / 60 / 2;
    require(growth < 8 * 1024, std::to_string(growth) + " KiB in the second half");
  });
  tally.test("descriptors are given back, no zombies", [&] {
    require_descriptors(service, descriptors);
    require(undead == 0, std::to_string(undead) + " zombies");
  });
  tally.test("strangers are told nothing", [&] {
    const std::string secret = betrayed(overheard.bytes(), service, true);
    require(!overheard.bytes().empty() && secret.empty(), "they were told " + secret);
  });
  tally.test("the log tells no secrets", [&] {
    const std::string secret = betrayed(log_of(service), service, false);
    require(log_of(service).size() > 1000 && secret.empty(), "the log contains " + secret);
  });
  tally.test("the service stops in order", [&] {
    require_alive(service);
    require(service.stop() == 0 && service.files().empty(), "left behind: " + service.files());
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  Tally tally;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 0;
  if (std::string_view(argv[1]) == "soak") {
    soak(tally, argv[2], seconds > 0 ? seconds : 1800);
  } else {
    load(tally, argv[2], seconds > 0 ? seconds : 5);
  }
  return tally.end();
}
