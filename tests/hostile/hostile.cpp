// SPDX-License-Identifier: MIT
// hostile.cpp: sends what nobody should send to a service, over raw sockets, and judges what comes back.
//
//   hostile [--no-memory] [--only=TEXT] PROGRAM FILE...
//
// PROGRAM is a service (examples/kitten.cpp); each FILE of cases gets a process of it, in a temporary directory. A case
// is sent over TCP and the unix socket, in one piece and byte by byte, over the latter in random pieces as well. After
// each of these the service has to be as good as new: it answers on a fresh connection and has no descriptor more than
// before. At the end the log must have one line for each refusal, and memory be bounded (not looked at with
// --no-memory, for sanitizers). The last line of the output is `N passed, N failed`. --only=TEXT runs cases whose
// titles contain TEXT.
//
// A FILE consists of lines:
//   # ...         a comment
//   options ...   words for the command line of the service, before the first case
//   (1, 2) ...    a case begins: the numbers of what it is about, and its title
//   > ...         sends this line with CRLF behind it; `- ...` with LF; `| ...` as it is
//   each ...      the case is run once for each of these lines, which stands in for <each>
//   ! ...         besides bytes: `answers N` waits for the first N answers, `fds N` sends N descriptors along with what
//                 follows, `eof` closes our sending side, `drip TEXT` sends it again and again until the connection
//                 ends, `idle N` opens N more connections, `again` a new one instead of this, `user N` one of another
//                 user (for root only), `stop N` stops and continues the process N times, `halt` and `resume` do so
//                 in turn, `reset` breaks the connection (nothing is expected then)
//   only ...      `tcp`, `unix`, `whole` (one piece), `quiet` (see below)
//   has ...       the answers must contain this; `log ...` the log
//   < ...         what must come back, such as `200*3 403:auth close`: the answers, those that refuse with the slug of
//                 their log line, then whether the connection is `open`, `close`d, or `over` because our side of it is.
//                 `none` is no answer, head:200 one without body, lf:200 one in bare LF, tail:200 one that lasts until
//                 the connection ends
// In texts, \r \n \t \s (a blank) \\ \xNN are bytes, <token> is the token, <N*text> a repetition, and <length> counts
// the bytes of the `|` lines that follow. Unless `quiet`, connections that must close are sent two more whole requests,
// which must not be answered.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
// For what normally takes a millisecond: only a service that hangs needs longer.
constexpr std::chrono::seconds patience{30};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void require(bool fine, const std::string& otherwise) {
  if (!fine) throw Failure(otherwise);
}

volatile std::sig_atomic_t interrupted = 0;
struct Interrupted {};

class Deadline {
 public:
  /// Waits for a moment, or until `entry` is ready. Throws when the time is up.
  void wait(pollfd* entry, int milliseconds, const char* what) const {
    if (interrupted != 0) throw Interrupted{};
    require(Clock::now() < end_, std::string("nothing happens while waiting for ") + what);
    ::poll(entry, entry != nullptr ? 1 : 0, milliseconds);
  }

 private:
  Clock::time_point end_ = Clock::now() + patience;
};

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

bool starts_with_word(std::string_view line, std::string_view word, std::string& rest) {
  if (!line.starts_with(word) || (line.size() > word.size() && line[word.size()] != ' ')) return false;
  rest = line.size() > word.size() ? line.substr(word.size() + 1) : std::string_view{};
  return true;
}

std::string printable(std::string_view bytes) {
  std::string out;
  char hex[8];
  for (const char c : bytes.substr(0, 600)) {
    std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += c == '\r' ? "\\r" : c == '\n' ? "\\n" : c >= 0x20 && c < 0x7f ? std::string(1, c) : std::string(hex);
  }
  return out + (bytes.size() > 600 ? "..." : "");
}

// ---- cases

struct Step {
  enum class Kind { bytes, answers, descriptors, end_of_input, drip, idle, again, user, stop, halt, resume, reset };
  Kind kind = Kind::bytes;
  std::string text = {};
  std::size_t count = 0;
};

struct Expected {
  int status = 0;  ///< 0: no answer, only a line in the log
  std::string slug = {};
  bool without_body = false, bare_lf = false, until_end = false;
};

struct Case {
  std::string title, each;
  std::vector<std::string> lines;     ///< those that send
  std::vector<std::string> has, log;  ///< what the answers, and the log, must contain
  std::vector<Expected> expected;
  bool kept = false, ended_by_us = false, tcp = true, local = true, in_pieces = true, quiet = false;
};

struct CaseFile {
  std::vector<std::string> options;
  std::vector<Case> cases;
};

Expected parse_expected(std::string word) {
  Expected e;
  for (bool more = true; more;) {
    more = false;
    for (const auto& [prefix, flag] : std::initializer_list<std::pair<const char*, bool*>>{
             {"head:", &e.without_body}, {"lf:", &e.bare_lf}, {"tail:", &e.until_end}}) {
      if (word.starts_with(prefix)) *flag = more = true, word.erase(0, std::strlen(prefix));
    }
  }
  const std::size_t colon = word.find(':');
  if (colon != word.npos) e.slug = word.substr(colon + 1);
  word = word.substr(0, colon);
  e.status = word == "none" ? 0 : std::atoi(word.c_str());
  require(word == "none" || (e.status >= 100 && e.status < 600), "not a status: " + word);
  require((e.status < 300 && e.status != 0) || !e.slug.empty() || word == "none", word + " needs a slug");
  return e;
}

void parse_expectation(Case& c, const std::string& text) {
  std::istringstream words(text);
  std::string end;
  for (std::string word; words >> word;) {
    end = word;
    if (word == "open" || word == "close" || word == "over") break;
    const std::size_t star = (std::min)(word.find('*'), word.size());
    const int times = star == word.size() ? 1 : std::atoi(word.c_str() + star + 1);
    c.expected.insert(c.expected.end(), static_cast<std::size_t>(times), parse_expected(word.substr(0, star)));
  }
  require(end == "open" || end == "close" || end == "over", "an expectation ends in open, close or over");
  c.kept = end == "open";
  c.ended_by_us = end == "over";
}

CaseFile read_cases(const std::string& path) {
  std::ifstream in(path);
  require(in.is_open(), "cannot read it");
  CaseFile file;
  std::vector<std::string> each;
  std::optional<Case> present;
  const auto finish = [&] {
    if (!present) return;
    require(!present->expected.empty(), present->title + ": nothing is expected");
    if (each.empty()) each.emplace_back();
    for (const std::string& variant : each) {
      file.cases.push_back(*present);
      file.cases.back().each = variant;
    }
    each.clear();
    present.reset();
  };
  int number = 0;
  std::string rest;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('(')) {
      finish();
      present.emplace().title = line;
    } else if (starts_with_word(line, "options", rest) && !present) {
      std::istringstream words(rest);
      for (std::string word; words >> word;) file.options.push_back(word);
    } else if (!present) {
      throw Failure(path + ":" + std::to_string(number) + ": not within a case");
    } else if (starts_with_word(line, "each", rest)) {
      each.push_back(rest);
    } else if (starts_with_word(line, "has", rest)) {
      present->has.push_back(rest);
    } else if (starts_with_word(line, "log", rest)) {
      present->log.push_back(rest);
    } else if (starts_with_word(line, "<", rest)) {
      parse_expectation(*present, rest);
    } else if (starts_with_word(line, "only", rest)) {
      if (rest == "tcp") present->local = false;
      if (rest == "unix") present->tcp = false;
      if (rest == "whole") present->in_pieces = false;
      if (rest == "quiet") present->quiet = true;
    } else if (std::string_view(">-|!").find(line.front()) != std::string_view::npos) {
      present->lines.push_back(line);
    } else {
      throw Failure(path + ":" + std::to_string(number) + ": a line of no kind");
    }
  }
  finish();
  return file;
}

/// Texts with their escapes and variables replaced.
class Expansion {
 public:
  Expansion(std::string token, std::string each) : token_(std::move(token)), each_(std::move(each)) {}

  std::string expand(std::string_view text, std::size_t length = 0) const {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] == '\\') {
        at = escape(text, at, out);
      } else if (text[at] == '<') {
        const std::size_t end = closing(text, at);
        out += variable(text.substr(at + 1, end - at - 1), length);
        at = end;
      } else {
        out += text[at];
      }
    }
    return out;
  }

 private:
  static std::size_t escape(std::string_view text, std::size_t at, std::string& out) {
    const char c = at + 1 < text.size() ? text[at + 1] : '?';
    if (c == 'x') {
      out += static_cast<char>(std::stoi(std::string(text.substr(at + 2, 2)), nullptr, 16));
      return at + 3;
    }
    constexpr std::string_view names = "rnts\\", bytes = "\r\n\t \\";
    const std::size_t found = names.find(c);
    require(found != names.npos, "no such escape: " + std::string(text));
    out += bytes[found];
    return at + 1;
  }
  static std::size_t closing(std::string_view text, std::size_t at) {
    int depth = 0;
    for (; at < text.size(); ++at) {
      if (text[at] == '\\')
        ++at;
      else if (text[at] == '<')
        ++depth;
      else if (text[at] == '>' && --depth == 0)
        return at;
    }
    throw Failure("< without >: " + std::string(text));
  }
  std::string variable(std::string_view name, std::size_t length) const {
    if (name == "token") return token_;
    if (name == "each") return expand(each_, length);
    if (name == "length") return std::to_string(length);
    const std::size_t star = name.find('*');
    require(star != name.npos && star > 0 && name.find_first_not_of("0123456789") == star,
            "no such variable: " + std::string(name));
    const std::string part = expand(name.substr(star + 1), length);
    const std::size_t count = std::stoul(std::string(name.substr(0, star)));
    std::string out;
    out.reserve(count * part.size());
    for (std::size_t i = 0; i < count; ++i) out += part;
    return out;
  }

  std::string token_, each_;
};

std::vector<Step> steps_of(const Case& c, const std::string& token) {
  const Expansion texts(token, c.each);
  std::vector<Step> steps;
  const auto rest = [](const std::string& line) { return line.size() > 2 ? line.substr(2) : std::string(); };
  for (std::size_t i = 0; i < c.lines.size(); ++i) {
    const std::string& line = c.lines[i];
    if (line.front() == '!') {
      // A drip is text, all else are numbers.
      std::istringstream words(line.starts_with("! drip") ? rest(line) : texts.expand(rest(line)));
      std::string verb;
      Step step;
      words >> verb;
      step.kind = verb == "answers"  ? Step::Kind::answers
                  : verb == "fds"    ? Step::Kind::descriptors
                  : verb == "eof"    ? Step::Kind::end_of_input
                  : verb == "drip"   ? Step::Kind::drip
                  : verb == "idle"   ? Step::Kind::idle
                  : verb == "again"  ? Step::Kind::again
                  : verb == "user"   ? Step::Kind::user
                  : verb == "halt"   ? Step::Kind::halt
                  : verb == "resume" ? Step::Kind::resume
                  : verb == "stop"   ? Step::Kind::stop
                  : verb == "reset"  ? Step::Kind::reset
                                     : throw Failure("no such step: " + line);
      if (step.kind == Step::Kind::drip)
        step.text = texts.expand(line.substr(7));
      else
        words >> step.count;
      steps.push_back(step);
      continue;
    }
    if (steps.empty() || steps.back().kind != Step::Kind::bytes) steps.emplace_back();
    std::size_t length = 0;
    // The body is what follows the other lines of the head.
    std::size_t body = i + 1;
    while (body < c.lines.size() && (c.lines[body].front() == '>' || c.lines[body].front() == '-')) ++body;
    for (; body < c.lines.size() && c.lines[body].front() == '|'; ++body)
      length += texts.expand(rest(c.lines[body])).size();
    steps.back().text += texts.expand(rest(line), length);
    if (line.front() == '>') steps.back().text += "\r\n";
    if (line.front() == '-') steps.back().text += "\n";
  }
  return steps;
}

// ---- answers

struct Answer {
  int status = 0;
  bool bare_lf = false, closes = false;
  std::string body = {};
  std::size_t size = 0;  ///< of all of it
};

/// Reads one answer as strictly as RFC 9112 allows; nothing if it is not complete. Throws if it cannot be one.
class AnswerReader {
 public:
  AnswerReader(std::string_view in, const Expected& expected, bool ended)
      : in_(in), expected_(expected), ended_(ended) {}

  std::optional<Answer> read() {
    const std::optional<std::string_view> first = line();
    if (!first) return nothing();
    status_line(*first);
    for (;;) {
      const std::optional<std::string_view> next = line();
      if (!next) return nothing();
      if (next->empty()) break;
      field(*next);
    }
    if (!body()) return nothing();
    answer_.size = at_;
    return answer_;
  }

 private:
  [[noreturn]] void malformed(const std::string& why) const {
    throw Failure("malformed answer, " + why + ": " + printable(in_));
  }
  std::optional<Answer> nothing() const {
    if (in_.size() - at_ > 64 * 1024 && length_ == none && !chunked_) malformed("a head without end");
    return std::nullopt;
  }

  std::optional<std::string_view> line() {
    const std::size_t end = in_.find('\n', at_);
    if (end == in_.npos) return std::nullopt;
    const bool lf = end == at_ || in_[end - 1] != '\r';
    if (style_known_ && lf != answer_.bare_lf) malformed("two kinds of line ends");
    answer_.bare_lf = lf;
    style_known_ = true;
    const std::string_view text = in_.substr(at_, end - at_ - (lf ? 0 : 1));
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)
        malformed("a byte that may not be in a head");
    }
    at_ = end + 1;
    return text;
  }

  void status_line(std::string_view text) {
    const auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
    if (text.size() < 13 || !text.starts_with("HTTP/1.1 ") || !digit(9) || !digit(10) || !digit(11) || text[12] != ' ')
      malformed("not a status line");
    answer_.status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + text[11] - '0';
  }

  void field(std::string_view text) {
    const std::size_t colon = text.find(": ");
    if (colon == text.npos || colon == 0 || colon + 2 == text.size()) malformed("not a header line");
    const std::string_view name = text.substr(0, colon), value = text.substr(colon + 2);
    for (const char c : name) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') malformed("not a header name");
    }
    if (value.front() == ' ' || value.back() == ' ') malformed("blanks around a value");
    if (!names_.emplace(name).second) malformed("a header twice");
    if (name == "Content-Length") {
      if (value.size() > 15 || value.find_first_not_of("0123456789") != value.npos) malformed("not a length");
      length_ = std::stoul(std::string(value));
    } else if (name == "Transfer-Encoding") {
      if (value != "chunked") malformed("not chunked");
      chunked_ = true;
    } else if (name == "Connection") {
      answer_.closes = value == "close";
      if (!answer_.closes && value != "keep-alive") malformed("a connection option nobody asked for");
    }
    for (const char* given_away : {"Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "Server"}) {
      if (name == given_away) malformed("a header that gives something away");
    }
  }

  bool body() {
    const bool empty = answer_.status < 200 || answer_.status == 204 || answer_.status == 304;
    if (chunked_ && length_ != none) malformed("two framings");
    if (empty && (chunked_ || length_ != none)) malformed("a length where there is no body");
    if (empty || expected_.without_body) return true;
    if (chunked_) return chunks();
    if (length_ == none) {
      if (!expected_.until_end) malformed("no length");
      answer_.body = in_.substr(at_);
      at_ = in_.size();
      return ended_;
    }
    if (in_.size() - at_ < length_) return false;
    answer_.body = in_.substr(at_, length_);
    at_ += length_;
    return true;
  }

  bool chunks() {
    for (;;) {
      const std::size_t end = in_.find("\r\n", at_);
      if (end == in_.npos) return false;
      const std::string digits(in_.substr(at_, end - at_));
      if (digits.empty() || digits.size() > 8 || digits.find_first_not_of("0123456789abcdef") != digits.npos)
        malformed("not a chunk size");
      const std::size_t size = std::stoul(digits, nullptr, 16);
      if (in_.size() < end + 2 + size + 2) return false;
      if (in_.substr(end + 2 + size, 2) != "\r\n") malformed("a chunk without end");
      answer_.body += in_.substr(end + 2, size);
      at_ = end + 2 + size + 2;
      if (size == 0) return true;
    }
  }

  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::string_view in_;
  const Expected& expected_;
  bool ended_;
  std::size_t at_ = 0, length_ = none;
  bool style_known_ = false, chunked_ = false;
  std::set<std::string, std::less<>> names_;
  Answer answer_;
};

// ---- the service

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  content << in.rdbuf();
  return content.str();
}

class Service {
 public:
  Service(const std::string& program, const std::vector<std::string>& options) {
    char name[] = "/tmp/hostile.XXXXXX";
    require(::mkdtemp(name) != nullptr, "no temporary directory");
    directory_ = name;
    try {
      start(program, options);
    } catch (...) {
      clean_up();
      throw;
    }
  }
  ~Service() { clean_up(); }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const std::string& token() const { return token_; }
  const std::string& directory() const { return directory_; }
  std::string log() const { return read_file(directory_ + "/log"); }
  pid_t pid() const { return pid_; }

  Fd connect(bool local) const {
    Fd fd(::socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un path{};
    path.sun_family = AF_UNIX;
    std::strncpy(path.sun_path, socket_.c_str(), sizeof path.sun_path - 1);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int connected = local ? ::connect(fd.get(), reinterpret_cast<sockaddr*>(&path), sizeof path)
                                : ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    require(connected == 0, std::string("cannot connect: ") + std::strerror(errno));
    const int on = 1;
    if (!local) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    return fd;
  }

  /// As another user, to whom the file modes that keep him out are opened for a moment.
  Fd connect_as(uid_t user) const {
    const std::vector<std::string> folders{directory_, directory_ + "/state"};
    for (const std::string& folder : folders) ::chmod(folder.c_str(), 0711);
    ::chmod(socket_.c_str(), 0666);
    require(::seteuid(user) == 0, "only root can be another user");
    Fd fd;
    std::string problem;
    try {
      fd = connect(true);
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    require(::seteuid(0) == 0, "not root any more");
    for (const std::string& folder : folders) ::chmod(folder.c_str(), 0700);
    ::chmod(socket_.c_str(), 0600);
    require(problem.empty(), problem);
    return fd;
  }

  /// Returns when it has stopped: what is sent from then on it will find all at once.
  void halt() const {
    ::kill(pid_, SIGSTOP);
    const std::string stat = "/proc/" + std::to_string(pid_) + "/stat";
    for (const Deadline deadline; read_file(stat).find(") T ") == std::string::npos;)
      deadline.wait(nullptr, 1, "the process to stop");
  }

  std::size_t descriptors() const {
    DIR* all = ::opendir(("/proc/" + std::to_string(pid_) + "/fd").c_str());
    std::size_t count = 0;
    while (all != nullptr && ::readdir(all) != nullptr) ++count;
    if (all != nullptr) ::closedir(all);
    return count;
  }
  /// In kB: VmRSS, VmHWM.
  long memory(const std::string& name) const {
    const std::string status = read_file("/proc/" + std::to_string(pid_) + "/status");
    const std::size_t at = status.find(name + ":");
    return at == status.npos ? 0 : std::atol(status.c_str() + at + name.size() + 1);
  }

  /// Ends it in order: it must say that all is well, and leave nothing behind.
  void stop() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    for (const Deadline deadline; ::waitpid(pid_, &status, WNOHANG) == 0;) deadline.wait(nullptr, 2, "its end");
    pid_ = -1;
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended badly; its log ends in:\n" + tail());
    require(::rmdir((directory_ + "/state").c_str()) == 0, "it left files behind");
  }

  std::string tail() const {
    const std::string text = log();
    return text.substr(text.size() > 2000 ? text.size() - 2000 : 0);
  }

 private:
  void start(const std::string& program, const std::vector<std::string>& options) {
    const std::string state = directory_ + "/state";
    std::vector<std::string> words{program, "--app-state-dir=" + state, "--app-data-dir=" + directory_,
                                   "--worker-log-level=10"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"start", "--foreground"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log_path = directory_ + "/log";
    const pid_t parent = ::getpid();
    rlimit few{};
    ::getrlimit(RLIMIT_NOFILE, &few);
    few.rlim_cur = 128;  // the service has to raise it itself
    pid_ = ::fork();
    require(pid_ >= 0, "cannot fork");
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no service outlives this program, however that ends
      if (::getppid() != parent || ::setrlimit(RLIMIT_NOFILE, &few) != 0) ::_exit(127);
      ::dup2(::open("/dev/null", O_RDWR), 0);
      ::dup2(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
      ::dup2(2, 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    std::string url;
    for (const Deadline deadline; url.empty(); deadline.wait(nullptr, 2, "its url file")) {
      int status = 0;
      const bool ended = ::waitpid(pid_, &status, WNOHANG) != 0;
      if (ended) pid_ = -1;
      require(!ended, "it does not start: " + tail());
      url = find_url(state);
    }
    const std::size_t slash = url.rfind('/'), colon = url.rfind(':', slash);
    token_ = url.substr(slash + 1);
    port_ = static_cast<std::uint16_t>(std::stoi(url.substr(colon + 1)));
  }

  /// What is in the url file, once it is there.
  std::string find_url(const std::string& state) {
    std::string url;
    DIR* all = ::opendir(state.c_str());
    for (const dirent* entry = nullptr; all != nullptr && (entry = ::readdir(all)) != nullptr;) {
      const std::string name = entry->d_name;
      if (!name.ends_with(".url")) continue;
      url = read_file(state + "/" + name);
      socket_ = state + "/" + name.substr(0, name.size() - 3) + "sock";
    }
    if (all != nullptr) ::closedir(all);
    return url;
  }

  void clean_up() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    for (const std::string& folder : {directory_ + "/state", directory_}) {
      DIR* all = ::opendir(folder.c_str());
      for (const dirent* entry = nullptr; all != nullptr && (entry = ::readdir(all)) != nullptr;)
        ::unlink((folder + "/" + entry->d_name).c_str());
      if (all != nullptr) ::closedir(all);
      ::rmdir(folder.c_str());
    }
  }

  std::string directory_, token_, socket_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

// ---- one case on one connection

enum class Cut { whole, random, bytes };

class Exchange {
 public:
  Exchange(const Service& service, const Case& c, bool local, Cut cut, unsigned seed)
      : service_(service), case_(c), local_(local), cut_(cut), dice_(seed), socket_(service.connect(local)) {
    for (const Expected& e : c.expected) {
      if (e.status != 0) expected_.push_back(e);
    }
  }

  void run() {
    try {
      talk();
    } catch (const Failure& failure) {
      ::kill(service_.pid(), SIGCONT);
      throw Failure(failure.what() + ("; received: " + (in_.empty() ? "nothing" : printable(in_))));
    }
  }

 private:
  void talk() {
    bool may_poison = !case_.kept && !case_.quiet;
    for (const Step& step : steps_of(case_, service_.token())) {
      perform(step);
      if (step.kind == Step::Kind::reset) return;
      if (step.kind == Step::Kind::end_of_input || step.kind == Step::Kind::drip) may_poison = false;
    }
    if (case_.kept) {
      await_answers(expected_.size());
      send("GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      expected_.push_back({200});
    } else if (may_poison) {
      const std::string more = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
      send("\r\n\r\nGET /ping" + more + "GET /" + service_.token() + "/ping" + more);
    }
    const Deadline deadline;
    while (!ended_) receive(deadline, "the end of the connection");
    read_answers();
    judge();
  }

  void perform(const Step& step) {
    switch (step.kind) {
      case Step::Kind::bytes:
        return send(step.text);
      case Step::Kind::answers:
        return await_answers(step.count);
      case Step::Kind::descriptors:
        descriptors_ = step.count;
        return;
      case Step::Kind::end_of_input:
        ::shutdown(socket_.get(), SHUT_WR);
        return;
      case Step::Kind::drip:
        for (const Deadline deadline; !ended_ && !broken_;) {
          send_piece(step.text);
          pollfd entry{socket_.get(), POLLIN, 0};
          deadline.wait(&entry, 20, "the end of a connection that sends little at a time");
          take();
        }
        return;
      case Step::Kind::idle:
        for (std::size_t i = 0; i < step.count; ++i) idle_.push_back(service_.connect(local_));
        return await_accepted();
      case Step::Kind::again:
        socket_ = service_.connect(local_);
        return;
      case Step::Kind::user:
        socket_ = service_.connect_as(static_cast<uid_t>(step.count));
        return;
      case Step::Kind::stop:
        for (std::size_t i = 0; i < step.count; ++i) {
          ::kill(service_.pid(), SIGSTOP);
          ::kill(service_.pid(), SIGCONT);
          take();
        }
        return;
      case Step::Kind::halt:
        return service_.halt();
      case Step::Kind::resume:
        ::kill(service_.pid(), SIGCONT);
        return;
      case Step::Kind::reset: {
        const linger now{1, 0};
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        socket_ = Fd();
        return;
      }
    }
  }

  /// Until the service has accepted all connections that have been opened: it has answered, or refused, a later one.
  void await_accepted() {
    const Fd last = service_.connect(local_);
    const std::string_view request = "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static_cast<void>(::send(last.get(), request.data(), request.size(), MSG_NOSIGNAL));
    pollfd entry{last.get(), POLLIN, 0};
    const Deadline deadline;
    while (entry.revents == 0) deadline.wait(&entry, 20, "an answer to the last one of many connections");
  }

  void send(std::string_view bytes) {
    // Nothing is gained from a million system calls where the size is what matters.
    const bool whole = cut_ == Cut::whole || !case_.in_pieces;
    const std::size_t most = whole                                        ? bytes.size()
                             : cut_ == Cut::bytes && bytes.size() <= 2000 ? 1
                                                                          : bytes.size() / 3 + 1;
    while (!bytes.empty() && !broken_) {
      const std::size_t size = most == 1 ? 1
                               : whole   ? most
                                         : std::uniform_int_distribution<std::size_t>(1, most)(dice_);
      const std::string_view piece = bytes.substr(0, size);
      send_piece(piece);
      if (!whole) let_it_read();
      bytes.remove_prefix(piece.size());
    }
  }

  void send_piece(std::string_view piece) {
    for (const Deadline deadline; !piece.empty() && !broken_;) {
      const ssize_t n = send_some(piece);
      if (n >= 0) {
        piece.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd entry{socket_.get(), POLLIN | POLLOUT, 0};
        deadline.wait(&entry, 1000, "the service to read");
        take();
      } else {
        broken_ = true;  // it does not want any more; what it has said is still to be read
      }
    }
  }

  ssize_t send_some(std::string_view piece) {
    iovec part{const_cast<char*>(piece.data()), piece.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
    const std::size_t count = std::exchange(descriptors_, 0);
    const Fd null(count != 0 ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : -1);
    if (count != 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(count * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(count * sizeof(int));
      const int fd = null.get();
      for (std::size_t i = 0; i < count; ++i) std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
    const ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (n < 0) descriptors_ = count;
    return n;
  }

  /// So that a piece is a piece for the service, too. Over TCP nothing tells; there this is a chance, no more.
  void let_it_read() {
    for (int i = 0; i < 200; ++i) {
      ::sched_yield();
      int unread = 0;
      if (!local_ || ::ioctl(socket_.get(), SIOCOUTQ, &unread) != 0 || unread == 0) return;
    }
  }

  /// Takes what is there.
  void take() {
    char block[16 * 1024];
    while (!ended_) {
      const ssize_t n = ::recv(socket_.get(), block, sizeof block, MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n <= 0)
        ended_ = true;
      else
        in_.append(block, static_cast<std::size_t>(n));
    }
  }
  void receive(const Deadline& deadline, const char* what) {
    pollfd entry{socket_.get(), POLLIN, 0};
    deadline.wait(&entry, 1000, what);
    take();
  }

  void await_answers(std::size_t count) {
    const Deadline deadline;
    for (read_answers(); answers_.size() < count && !ended_; read_answers()) receive(deadline, "an answer");
  }

  void read_answers() {
    static const Expected unknown{};
    while (at_ < in_.size()) {
      const std::size_t index = answers_.size();
      const Expected& expected = index < expected_.size() ? expected_[index] : unknown;
      const std::optional<Answer> answer = AnswerReader(std::string_view(in_).substr(at_), expected, ended_).read();
      if (!answer) {
        require(!ended_, "half an answer");
        return;
      }
      at_ += answer->size;
      answers_.push_back(*answer);
    }
  }

  void judge() const {
    std::string statuses, wanted;
    for (const Answer& answer : answers_) statuses += " " + std::to_string(answer.status);
    for (const Expected& e : expected_) wanted += " " + std::to_string(e.status);
    require(statuses == wanted, "answered with" + statuses + " instead of" + wanted);
    for (std::size_t i = 0; i < answers_.size(); ++i) {
      require(answers_[i].bare_lf == expected_[i].bare_lf, "answered in the other kind of line ends");
      // Who is told that the connection goes on may send the next request.
      const bool last = i + 1 == answers_.size() && answers_[i].status >= 200;
      require(answers_[i].closes == last || (last && case_.ended_by_us), "Connection: close is not the truth");
    }
    for (const std::string& text : case_.has) {
      require(in_.find(Expansion(service_.token(), case_.each).expand(text)) != std::string::npos,
              "no '" + text + "' in what came");
    }
    require_discreet();
  }

  /// Nobody gets the token back, nor what he has said; and strangers nothing from inside.
  void require_discreet() const {
    std::vector<std::string> secrets{service_.token(), "reflect-me"};
    const auto authenticated = [](const std::string& line) { return line.find("<token>") != line.npos; };
    if (std::none_of(case_.lines.begin(), case_.lines.end(), authenticated) && !authenticated(case_.each)) {
      secrets.insert(secrets.end(), {service_.directory(), "/home", "/tmp", "std::", "basic_string", "json.exception",
                                     "nlohmann", "asio", "what()", "0x7f", "Traceback", "kettlingar", "src/"});
    }
    for (const std::string& secret : secrets) {
      if (in_.find(secret) != in_.npos) throw Failure("the answer contains '" + secret + "'");
    }
  }

  const Service& service_;
  const Case& case_;
  bool local_;
  Cut cut_;
  std::minstd_rand dice_;
  Fd socket_;
  std::vector<Expected> expected_;  ///< without those that only the log has
  std::vector<Fd> idle_;
  std::size_t descriptors_ = 0;  ///< to go with the next piece
  std::string in_;
  std::size_t at_ = 0;  ///< what is before it has been read as answers
  std::vector<Answer> answers_;
  bool ended_ = false, broken_ = false;
};

// ---- the log

/// Counts of refusals by slug: what there should be, and what the log says.
class LogBook {
 public:
  void expect(const Case& c) {
    for (const Expected& e : c.expected) {
      if (e.slug.empty()) continue;
      ++expected_[e.slug];
      representative_[e.slug] = &c;
    }
  }

  /// Throws unless every line of the log has its form, and the refusals are those that were expected. Of many within a
  /// second the log only has the number, in the next line of that kind: for each of those a case is run again.
  void check(const Service& service) {
    for (const Deadline deadline;; deadline.wait(nullptr, 100, "the log to mention all refusals")) {
      read(service.log(), service.token());
      for (const auto& [slug, count] : found_)
        require(expected_.count(slug) != 0, "the log has a refusal [" + slug + "] that was not expected");
      std::set<const Case*> again;
      for (const auto& [slug, count] : expected_) {
        require(found_[slug] <= count, "the log has more refusals [" + slug + "] than there were: " +
                                           std::to_string(found_[slug]) + " instead of " + std::to_string(count));
        if (found_[slug] < count) again.insert(representative_[slug]);
      }
      if (again.empty()) return;
      for (const Case* c : again) {
        Exchange(service, *c, !c->tcp, Cut::whole, 0).run();
        expect(*c);
      }
    }
  }

 private:
  void read(const std::string& log, const std::string& token) {
    found_.clear();
    require(log.find(token) == log.npos, "the token is in the log");
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);) read_line(line);
  }

  void read_line(const std::string& line) {
    const bool escaped = std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
    if (!escaped || line.size() > 1000) throw Failure("a log line that is too long or not escaped: " + printable(line));
    if (line.find(": Running at ") != line.npos) return;
    int year = 0, rest = 0;
    long pid = 0;
    char level = 0;
    const int fields =
        std::sscanf(line.c_str(), "%4d-%*2d-%*2d %*2d:%*2d:%*2d,%*3d %ld %c [%*[^]]] %n", &year, &pid, &level, &rest);
    require(fields == 3 && rest > 0, "not a log line: " + line);
    std::istringstream words(line.substr(static_cast<std::size_t>(rest)));
    std::string kind, status, slug, peer, method, path, bytes, time, suffix;
    words >> kind;
    if (kind == "internal:" && expected_.count("internal") == 0)
      throw Failure("an exception that should not be: " + line);
    if (kind != "http") return;
    words >> status >> slug >> peer >> method >> path >> bytes >> time;
    const auto number = [](const std::string& text) {
      return !text.empty() && text.find_first_not_of("0123456789.") == text.npos;
    };
    const bool fine = number(status) && status.size() <= 3 &&
                      (peer == "unix-domain" || peer.starts_with("127.0.0.1:")) && !method.empty() &&
                      (path == "-" || path.front() == '/') && number(bytes) && time.ends_with("ms") &&
                      number(time.substr(0, time.size() - 2));
    require(fine, "not the log line of a request: " + line);
    if (status.starts_with('2')) return;
    unsigned long more = 0;
    std::getline(words, suffix);
    require(suffix.empty() || std::sscanf(suffix.c_str(), " (%lu more of these not logged)", &more) == 1,
            "a log line that goes on: " + line);
    found_[slug] += 1 + more;
  }

  std::map<std::string, unsigned long> expected_, found_;
  std::map<std::string, const Case*> representative_;
};

// ---- all of them

class Suite {
 public:
  Suite(std::string program, std::string only, bool memory)
      : program_(std::move(program)), only_(std::move(only)), memory_(memory) {}

  void run(const std::string& path) {
    try {
      const CaseFile file = read_cases(path);
      std::vector<std::string> options{"--worker-http-request-timeout1=60", "--worker-http-request-timeout2=60"};
      options.insert(options.end(), file.options.begin(), file.options.end());
      Service service(program_, options);
      run_cases(service, file, path);
    } catch (const Failure& failure) {
      fail(path, failure.what());
    }
  }

  int finish() const {
    std::cout << passed_ << " passed, " << failed_ << " failed" << std::endl;
    return failed_ == 0 && passed_ != 0 ? 0 : 1;
  }

 private:
  void run_cases(Service& service, const CaseFile& file, const std::string& path) {
    health_.title = "a fresh connection";
    health_.lines = {"> GET /ping HTTP/1.1", "> Host: localhost",   ">", "> GET /<token>/ping HTTP/1.1",
                     "> Host: localhost",    "> Connection: close", ">"};
    health_.has = {"\\r\\n\\r\\nPong\\n", "\"pong\""};
    health_.expected = {{200}, {200}};
    Exchange(service, health_, false, Cut::whole, 0).run();
    Exchange(service, health_, true, Cut::whole, 0).run();
    base_ = settled(service);
    const long memory_before = service.memory("VmHWM");
    LogBook log;
    unsigned seed = 0;
    for (const Case& c : file.cases) {
      ++seed;
      if ((c.title + " " + c.each).find(only_) == std::string::npos) continue;
      const auto needs_root = [](const std::string& line) { return line.starts_with("! user"); };
      if (::geteuid() != 0 && std::any_of(c.lines.begin(), c.lines.end(), needs_root)) {
        std::cout << "skipped: " << c.title << ": only root can be another user" << std::endl;
        continue;
      }
      if (!run_case(service, c, seed, path, log) && ::waitpid(service.pid(), nullptr, WNOHANG) != 0) {
        return fail(path, "the service has ended: " + service.tail());
      }
    }
    log.check(service);
    // What all connections of these limits together could hold would be more; here it was one at a time.
    const long grown = service.memory("VmHWM") - memory_before;
    require(!memory_ || grown < 100 * 1024, "memory has grown by " + std::to_string(grown) + " kB");
    service.stop();
    ++passed_;
  }

  /// The number of open descriptors, once no connection is left: two looks in a row see the same.
  static std::size_t settled(const Service& service) {
    std::size_t count = 0;
    for (const Deadline deadline; count != service.descriptors(); deadline.wait(nullptr, 20, "descriptors to settle"))
      count = service.descriptors();
    return count;
  }

  bool run_case(const Service& service, const Case& c, unsigned seed, const std::string& path, LogBook& log) {
    for (const bool local : {false, true}) {
      if (!(local ? c.local : c.tcp)) continue;
      for (const Cut cut : {Cut::whole, Cut::random, Cut::bytes}) {
        if (cut != Cut::whole && !c.in_pieces) continue;
        if (cut == Cut::random && !local) continue;  // TCP joins pieces as it likes: bytes will do
        try {
          Exchange(service, c, local, cut, seed).run();
          log.expect(c);
          for (const std::string& text : c.log)
            require(service.log().find(text) != std::string::npos, "no '" + text + "' in the log");
          Exchange(service, health_, local, Cut::whole, 0).run();
          for (const Deadline deadline; service.descriptors() > base_;)
            deadline.wait(nullptr, 1, "descriptors to be closed");
          ++passed_;
        } catch (const Failure& failure) {
          const char* how = cut == Cut::whole ? "in one piece" : cut == Cut::random ? "in pieces" : "byte by byte";
          fail(path + ": " + c.title + (c.each.empty() ? "" : " [" + c.each + "]"),
               std::string(local ? "unix socket, " : "TCP, ") + how + ": " + failure.what());
          return false;
        }
      }
    }
    return true;
  }

  void fail(const std::string& what, const std::string& why) {
    ++failed_;
    std::cout << "FAIL " << what << "\n     " << why << std::endl;
  }

  std::string program_, only_;
  bool memory_;
  Case health_;
  std::size_t base_ = 0;
  unsigned passed_ = 0, failed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::string only;
  bool memory = true;
  while (!words.empty() && words.front().starts_with("--")) {
    if (words.front() == "--no-memory")
      memory = false;
    else if (words.front().starts_with("--only="))
      only = words.front().substr(7);
    else
      words.clear();
    if (!words.empty()) words.erase(words.begin());
  }
  if (words.size() < 2) {
    std::cerr << "usage: hostile [--no-memory] [--only=TEXT] PROGRAM FILE...\n";
    return 2;
  }
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    ::sigaction(signal, &action, nullptr);
  }
  Suite suite(words.front(), only, memory);
  try {
    for (std::size_t i = 1; i < words.size(); ++i) suite.run(words[i]);
  } catch (const Interrupted&) {
    return 130;
  }
  return suite.finish();
}
