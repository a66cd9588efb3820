// control_socket_threads.cpp: a program with a pool of worker threads gets a control socket on one more thread.
//
//   control_socket_threads [--seconds=N] [--app-state-dir=DIR]   until Ctrl-C
//   url=$(cat ~/.local/state/crunch/pool.url)
//   curl $url/stats
//   curl -d count=5 $url/threads                                 how many there are is what it returns
//   curl -d name=debug $url/log_level
//   curl -N $url/tail                                            the log, as it is written
//   hello --app-name=crunch --worker-name=pool stats             the command line of any service will do
//
// The control socket is the lines that end in "// +"; without them (grep -v '// +$') it is the program as it was.
#include "kettlingar.hpp"  // +

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace kt = kettlingar;  // +
using Clock = std::chrono::steady_clock;

// Locks for itself, as the pool does: their functions can be called from any thread.
class Log {
 public:
  // The name of the lowest level that is written, changed if there is one.
  std::string level(std::optional<std::string> name) {
    const std::lock_guard lock(mutex_);
    if (name) level_ = number(*name);
    return names[level_];
  }
  void debug(const std::string& text) { write(0, text); }
  void info(const std::string& text) { write(1, text); }

  kt::Topic<std::string> tail;  // +

 private:
  static constexpr const char* names[] = {"debug", "info", "off"};

  static std::size_t number(const std::string& name) {
    const auto found = std::find(std::begin(names), std::end(names), name);
    if (found == std::end(names)) throw std::invalid_argument("a log level is debug, info or off, not " + name);
    return static_cast<std::size_t>(found - std::begin(names));
  }
  void write(std::size_t level, const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (level < level_) return;
    std::cerr << names[level] << ": " << text << '\n';
    tail.publish(text);  // +
  }

  std::mutex mutex_;
  std::size_t level_ = 1;
};

struct Stats {
  long done = 0;
  std::size_t waiting = 0, threads = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Stats, done, waiting, threads)  // +

class Pool {
 public:
  explicit Pool(Log& log) : log_(log) { threads(2); }
  ~Pool() {
    threads(0);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return threads_.empty(); });
    lock.unlock();
    join_ended();
  }

  void add(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_all();
  }

  // How many threads there are to be, changed if there is a count. Those that are too many end after their present job.
  int threads(std::optional<int> count) {
    join_ended();
    const std::lock_guard lock(mutex_);
    if (!count) return wanted_;
    if (*count < 0 || *count > 64) throw std::invalid_argument("there can be 0 to 64 threads");
    wanted_ = *count;
    while (static_cast<int>(threads_.size()) < wanted_) {
      const int id = next_id_++;
      threads_.emplace(id, std::thread([this, id] { work(id); }));
    }
    changed_.notify_all();
    return wanted_;
  }

  Stats stats() {
    const std::lock_guard lock(mutex_);
    return {done_, jobs_.size(), threads_.size()};
  }

 private:
  void work(int id) {
    log_.info("thread " + std::to_string(id) + " begins");
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !jobs_.empty() || too_many(); });
      if (too_many()) break;
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      lock.lock();
      ++done_;
    }
    log_.info("thread " + std::to_string(id) + " ends");
    const auto self = threads_.find(id);
    ended_.push_back(std::move(self->second));
    threads_.erase(self);
    changed_.notify_all();
  }
  bool too_many() const { return static_cast<int>(threads_.size()) > wanted_; }

  // They have nothing to do any more but to return.
  void join_ended() {
    std::vector<std::thread> ended;
    {
      const std::lock_guard lock(mutex_);
      ended.swap(ended_);
    }
    for (std::thread& thread : ended) thread.join();
  }

  Log& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::map<int, std::thread> threads_;
  std::vector<std::thread> ended_;
  int wanted_ = 0, next_id_ = 1;
  long done_ = 0;
};

int count_primes(int below) {
  int count = 0;
  for (int n = 2; n < below; ++n) {
    bool prime = true;
    for (int d = 2; prime && d * d <= n; ++d) prime = n % d != 0;
    count += prime ? 1 : 0;
  }
  return count;
}

// The value of `--name=value`, which is taken out of the words.
std::string take(std::vector<std::string>& words, const std::string& name) {
  std::string value;
  std::erase_if(words, [&](const std::string& word) {
    if (!word.starts_with("--" + name + "=")) return false;
    value = word.substr(name.size() + 3);
    return true;
  });
  return value;
}

int main(int argc, char** argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  const std::chrono::milliseconds time(static_cast<int>(1000 * std::atof(take(words, "seconds").c_str())));
  // Before there are other threads: this one waits for the signals, all others are spared them.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Log log;
  Pool pool(log);
  kt::Kitten kitten("crunch", "pool", "Counts primes on some threads.");  // +
  kitten.settings().app_state_dir = take(words, "app-state-dir");         // +
  if (!words.empty()) throw std::invalid_argument("unknown: " + words.front());
  kitten.api("stats", pool, &Pool::stats, "What has been done, and what waits.");                                 // +
  kitten.api("threads", pool, &Pool::threads, "Sets how many there are, if given.", kt::arg("count") = nullptr);  // +
  kitten.api("log_level", log, &Log::level, "Sets debug, info or off, if given.", kt::arg("name") = nullptr);     // +
  kitten.api("tail", log.tail, "The log, as it is written.");                                                     // +
  kitten.on_shutdown([&] { log.tail.close(), ::kill(::getpid(), SIGTERM); });                                     // +
  kitten.start_thread();                                                                                          // +
  std::cout << "Control socket: " << kitten.socket_path() << std::endl;                                           // +

  const Clock::time_point end = Clock::now() + time;
  const timespec pause{0, 20'000'000};
  for (int number = 0; time.count() == 0 || Clock::now() < end; ++number) {
    pool.add([&log, number] {
      log.debug("job " + std::to_string(number) + ": " + std::to_string(count_primes(20'000)) + " primes");
    });
    if (::sigtimedwait(&signals, nullptr, &pause) > 0) break;
  }
  std::cout << "Jobs done: " << pool.stats().done << std::endl;
  return 0;
} catch (const std::exception& error) {
  std::cerr << "control_socket_threads: " << error.what() << std::endl;
  return 1;
}
