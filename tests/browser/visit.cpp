// SPDX-License-Identifier: MIT
// visit.cpp: a browser visits pages of a service and of strangers: `browser_visit FOLDER STATE BROWSER [OPTION]...`
//
// FOLDER has the pages, STATE is an empty directory for the service. The browser is started with these options, one
// that maps the strangers' names to this machine, and the address of the first page; when a page is done it reports and
// goes on to the next. Our own page comes first and shows that every trick works; then the same ones are tried by pages
// of
//
//   127.0.0.1, another port    the same site for the browser, another origin
//   localhost                  another site
//   evil.example               another site by its name, too
//   rebound.example            a name that has led to the stranger's server first, to ours later, at the same port
//
// One line for each check; the last line is `N passed, N failed`.
#include "kettlingar.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace kt = kettlingar;
using asio::ip::tcp;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;  // for a page, on a loaded machine

int passed = 0, failed = 0;

void check(const std::string& what, bool ok, const std::string& seen = {}) {
  ++(ok ? passed : failed);
  std::cout << (ok ? "ok   " : "FAIL ") << what << (ok || seen.empty() ? "" : ": " + seen) << std::endl;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : ", ") + word;
  return line;
}

struct Report {
  kt::json results;  // null: the page has not come so far
  int refused = 0;   // requests since the report before
};

// What the pages have done, and what became known of it.
class Story {
 public:
  void touch(std::string_view path) {
    change([&] { touched_.emplace(path); });
  }
  void refuse() {
    change([&] { ++refused_; });
  }
  void report(const kt::json& results) {
    change([&] { reports_.push_back({results, std::exchange(refused_, 0)}); });
  }
  void leak(const std::string& request) {
    change([&] { leaks_.push_back(request); });
  }
  void browser_ended() {
    change([&] { browser_ended_ = true; });
  }

  Report next_report() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return reports_.size() > read_ || browser_ended_; });
    return reports_.size() > read_ ? reports_[read_++] : Report{};
  }
  void wait_for_browsers_end() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 10s, [&] { return browser_ended_; });
  }
  // Waits until all of `paths` have run; those that have not.
  std::vector<std::string> untouched(const std::vector<std::string>& paths) {
    std::unique_lock lock(mutex_);
    std::vector<std::string> missing;
    changed_.wait_for(lock, patience, [&] {
      missing.clear();
      for (const std::string& path : paths)
        if (touched_.count(path) == 0) missing.push_back(path);
      return missing.empty();
    });
    return missing;
  }
  std::vector<std::string> touched_by(const std::string& host) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> paths;
    for (const std::string& path : touched_)
      if (path.find("/" + host + "/") != std::string::npos) paths.push_back(path);
    return paths;
  }
  std::vector<std::string> leaks() {
    const std::lock_guard lock(mutex_);
    return leaks_;
  }

 private:
  template <class Change>
  void change(Change make) {
    const std::lock_guard lock(mutex_);
    make();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> touched_;
  std::vector<Report> reports_;
  std::vector<std::string> leaks_;
  std::size_t read_ = 0;
  int refused_ = 0;
  bool browser_ended_ = false;
};

// The service that is to be visited.
class Service : public kt::Kitten {
 public:
  Service(Story& story, const std::string& folder, const std::string& state)
      : Kitten("visited", "Kitty", "Pages of its own"), story_(story) {
    settings().app_state_dir = state;
    settings().worker_log_level = static_cast<int>(kt::LogLevel::debug);  // with a line for each request
    log_to([this](kt::LogLevel, std::string_view line) {
      if (line.find(" origin ") != std::string_view::npos || line.find(" host ") != std::string_view::npos)
        story_.refuse();
    });
    public_api("touch", &Service::touch, "Changes something.", kt::arg("x") = "");
    api("touch_private", &Service::touch, "Changes something.", kt::arg("x") = "");
    api("page", [page = contents(folder + "/ours.html")] { return kt::html(page); });
    api("tricks", [script = contents(folder + "/tricks.js")] { return kt::Result{"text/javascript", script}; });
    api(
        "add", [](int a, int b) { return a + b; }, "Adds.", kt::arg("a"), kt::arg("b"));
    api(
        "echo", [](std::string text) { return text; }, "", kt::arg("text"));
    api(
        "size", [](kt::Bytes data, std::string name) { return name + " " + std::to_string(data.size()); }, "",
        kt::arg("data"), kt::arg("name") = "");
    api(
        "count",
        [](int from, int to) -> kt::Generator<int> {
          for (int i = from; i <= to; ++i) co_yield i;
        },
        "", kt::arg("from") = 1, kt::arg("to") = 3);
    api("events", []() -> kt::Generator<kt::json> {
      for (const char* text : {"0", "\"\"", "null", "{\"event\": \"done\"}", "\"a\\n\"", "{\"k\": 1}"}) {
        kt::json item = kt::json::parse(text);
        co_yield item;
      }
    });
    api("steps", &Service::steps, "Two items, the second one after `go_on`.");
    api("go_on", [this] { go_on_ = true; });
    api("endless", &Service::endless, "One item, and no end.");
    api("endless_has_ended", &Service::wait_for_end, "Waits for it.");
    api(
        "report",
        [this](kt::json results) {
          story_.report(results);
          return next_page_;
        },
        "Takes what the page has found, says where to go on.", kt::arg("results"));
  }
  void go_on_to(const std::string& page) { next_page_ = page; }

 private:
  std::string touch(kt::Request& request, std::string) {
    story_.touch(request.path());
    return "touched";
  }
  kt::Generator<std::string> steps() {
    co_yield "first";
    while (!go_on_) co_await kt::sleep_for(5ms);
    co_yield "second";
  }
  kt::Generator<int> endless() {
    const std::unique_ptr<bool, void (*)(bool*)> at_end(&endless_has_ended_, [](bool* ended) { *ended = true; });
    co_yield 1;
    co_await kt::sleep_for(24h);
  }
  kt::Task<bool> wait_for_end() {
    while (!endless_has_ended_) co_await kt::sleep_for(5ms);
    co_return true;
  }

  Story& story_;
  std::string next_page_;
  bool go_on_ = false, endless_has_ended_ = false;
};

// The strangers' server. What it has no page for goes to the service as it is: a name that leads here first, and there
// later, has led the browser there.
class Stranger {
 public:
  Stranger(asio::io_context& context, const std::string& address, unsigned short port, const std::string& folder,
           const kt::Kitten& service, Story& story, std::vector<std::string>& next_pages)
      : acceptor_(context, tcp::endpoint(asio::ip::make_address(address), port)),
        folder_(folder),
        token_(service.token()),
        service_port_(port_of(service)),
        story_(story),
        next_pages_(next_pages),
        thread_([this] { serve(); }) {}
  ~Stranger() {
    // A connection, for nothing else ends an accept() everywhere.
    stopping_ = true;
    asio::error_code ignored;
    tcp::socket(acceptor_.get_executor()).connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
    for (std::thread& connection : connections_) connection.join();
  }
  std::string port() const { return std::to_string(acceptor_.local_endpoint().port()); }
  static unsigned short port_of(const kt::Kitten& service) {
    return static_cast<unsigned short>(std::stoi(service.url().substr(service.url().rfind(':') + 1)));
  }

 private:
  void serve() {
    while (!stopping_) {
      asio::error_code error;
      auto socket = std::make_shared<tcp::socket>(acceptor_.get_executor());
      acceptor_.accept(*socket, error);
      if (error || stopping_) continue;
      connections_.emplace_back([this, socket] {
        asio::error_code gone;
        try {
          answer(*socket);
        } catch (const std::exception&) {  // browsers open connections that they do not use
        }
        socket->shutdown(tcp::socket::shutdown_both, gone);
      });
    }
  }

  void answer(tcp::socket& socket) {
    std::string request;
    const std::size_t head = asio::read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n");
    const std::size_t colon = request.find("\r\nContent-Length: ");
    const std::size_t length = colon < head ? std::stoul(request.substr(colon + 18)) : 0;
    if (request.size() < head + length)
      asio::read(socket, asio::dynamic_buffer(request), asio::transfer_exactly(head + length - request.size()));
    const std::size_t referrer = request.find("\r\nReferer: ");
    if (referrer < head && request.find(token_, referrer) < request.find("\r\n", referrer + 2)) story_.leak(request);
    if (request.starts_with("GET /theirs.html ")) {
      say(socket, "text/html", theirs());
    } else if (request.starts_with("GET /tricks.js ")) {
      say(socket, "text/javascript", contents(folder_ + "/tricks.js"));
    } else if (request.starts_with("POST /report ")) {
      story_.report(request.substr(head));
      say(socket, "text/plain", next_page());
    } else if (request.starts_with("GET /favicon.ico ")) {
      say(socket, "text/plain", "");
    } else {
      pass_on(socket, request);
    }
  }

  std::string theirs() const {
    std::string page = contents(folder_ + "/theirs.html");
    replace_all(page, "@PORT@", std::to_string(service_port_));
    replace_all(page, "@TOKEN@", token_);
    return page;
  }

  std::string next_page() {
    const std::lock_guard lock(mutex_);
    if (next_pages_.empty()) return "about:blank";
    const std::string page = next_pages_.front();
    next_pages_.erase(next_pages_.begin());
    return page;
  }

  // Only that the connection ends is changed, so that the end of the answer is known.
  void pass_on(tcp::socket& socket, std::string request) const {
    const std::size_t connection = request.find("\r\nConnection: ");
    const std::size_t end = request.find("\r\n", connection + 2);
    request.replace(connection, end - connection, "\r\nConnection: close");
    tcp::socket service(socket.get_executor());
    service.connect({asio::ip::address_v4::loopback(), service_port_});
    asio::write(service, asio::buffer(request));
    std::string reply;
    asio::error_code at_end;
    asio::read(service, asio::dynamic_buffer(reply), at_end);
    // Counted here, too: all of the last page is over within a second, for which the page before may have used up the
    // lines that the log has for refusals.
    if (reply.starts_with("HTTP/1.1 4")) story_.refuse();
    asio::write(socket, asio::buffer(reply));
  }

  static void say(tcp::socket& socket, const std::string& type, const std::string& body) {
    asio::write(socket, asio::buffer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + type +
                                     "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body));
  }

  tcp::acceptor acceptor_;
  std::string folder_, token_;
  unsigned short service_port_;
  Story& story_;
  std::vector<std::string>& next_pages_;
  std::mutex mutex_;
  std::atomic<bool> stopping_ = false;
  std::vector<std::thread> connections_;
  std::thread thread_;
};

// A browser with a home of its own, in a process group of its own, which ends with it.
class Browser {
 public:
  Browser(std::vector<std::string> words, Story& story) : story_(story) {
#if defined(__linux__)
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // its children become ours when it ends, so that they can be waited for
#endif
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = ::posix_spawnp(&group_, argv[0], nullptr, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) throw std::runtime_error("cannot start " + words.front());
    waiting_ = std::thread([this] {
      siginfo_t ended{};
      while (::waitid(P_PID, static_cast<id_t>(group_), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
      }
      story_.browser_ended();
    });
  }
  ~Browser() {
    ::kill(group_, SIGTERM);
    story_.wait_for_browsers_end();
    ::kill(-group_, SIGKILL);
    waiting_.join();
    while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) continue;  // until now nobody else could get its number
  }

 private:
  Story& story_;
  pid_t group_ = 0;
  std::thread waiting_;
};

// The names in tricks.js, at the beginning of lines such as `  name: url => ...`.
std::vector<std::string> tricks(const std::string& script) {
  std::vector<std::string> names;
  std::istringstream lines(script.substr(script.find("const tricks = {")));
  for (std::string line; std::getline(lines, line) && line != "};";) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("  ") && line[2] != ' ' && line[2] != '}' && colon != std::string::npos)
      names.push_back(line.substr(2, colon - 2));
  }
  return names;
}

int visit(const std::string& folder, const std::string& state, std::vector<std::string> browser) {
  Story story;
  Service service(story, folder, state);
  service.start_thread();
  asio::io_context context;
  std::vector<std::string> next_pages;
  Stranger stranger(context, "127.0.0.1", 0, folder, service, story, next_pages);
  Stranger rebound(context, "127.0.0.2", Stranger::port_of(service), folder, service, story, next_pages);

  const std::vector<std::string> hosts{"127.0.0.1:" + stranger.port(), "localhost:" + stranger.port(),
                                       "evil.example:" + stranger.port(), "rebound.example:" + rebound.port()};
  for (const std::string& host : hosts) next_pages.push_back("http://" + host + "/theirs.html");
  service.go_on_to(next_pages.front());
  next_pages.erase(next_pages.begin());

  browser.push_back("--host-resolver-rules=MAP evil.example 127.0.0.1, MAP rebound.example 127.0.0.2");
  browser.push_back(service.url() + "/" + service.token() + "/page");
  const Browser running(browser, story);

  const Report ours = story.next_report();
  check("our own page is shown, and reports", ours.results.is_object() && !ours.results.empty());
  for (const auto& [name, result] : ours.results.items()) check("our own page " + name, result == true, result.dump());
  std::vector<std::string> all;
  for (const std::string& name : tricks(contents(folder + "/tricks.js")))
    for (const std::string method : {"/touch/", "/touch_private/"})
      all.push_back(method + service.url().substr(7) + "/" + name);
  const std::vector<std::string> missing = story.untouched(all);
  check("all " + std::to_string(all.size()) + " requests of our own page arrive", all.size() > 40 && missing.empty(),
        joined(missing));
  check("none of them is refused", ours.refused == 0);

  for (const std::string& host : hosts) {
    const Report report = story.next_report();
    check("a page of http://" + host + " is shown, and reports", report.results.is_string());
    check("it learns nothing", report.results == "", report.results.dump());
    check("it changes nothing", story.touched_by(host).empty(), joined(story.touched_by(host)));
    check("the service has refused it", report.refused > 0);
  }
  check("nobody has been told the token by a Referer", story.leaks().empty(), joined(story.leaks()));
  std::cout << passed << " passed, " << failed << " failed" << std::endl;
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: browser_visit FOLDER STATE BROWSER [OPTION]...\n";
    return 2;
  }
  try {
    return visit(argv[1], argv[2], {argv + 3, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
