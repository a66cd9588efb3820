// SPDX-License-Identifier: MIT
// cli/end_signals.ipp: the signals that end a program: the first in order, the second at once.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "../base/errors.hpp"
#include "../call/loop.ipp"
#include "../os/descriptor.hpp"
#include "../os/process.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Has SIGTERM, SIGINT and SIGHUP for as long as it lives; there is one. The loop hears of the first. A second SIGTERM
/// or SIGINT ends the process in the signal handler itself, with code 128 + number: a loop whose handlers block would
/// not hear of it. A child that was forked and runs on in this program ends as if nobody handled them. What was ignored
/// stays so: nohup and shells mean it.
class EndSignals {
 public:
  /// Throws StartError.
  EndSignals();
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;
  ~EndSignals();

  /// Removed before the process ends at once, if the name still leads to what it does now.
  void add_file(const std::string& path);
  /// Calls `end` from the loop when the first signal comes, or if it has come.
  void when_asked(asio::io_context& loop, std::function<void()> end);

 private:
  struct File {
    std::array<char, 4096> path;
    FileId id;
  };
  /// For the handler, in which little more than system calls is allowed.
  struct Shared {
    std::atomic<pid_t> process;
    std::atomic<int> pipe, count;
    std::atomic<std::size_t> files;
    std::array<File, 3> file;
  };
  static constexpr std::array<int, 3> numbers{SIGTERM, SIGINT, SIGHUP};

  static void handle(int number) noexcept;
  static inline constinit Shared shared_{};

  std::array<struct sigaction, 3> before_{};
  Fd reader_, writer_;
  std::unique_ptr<asio::posix::stream_descriptor> waiting_;
};

KETTLINGAR_COLD void EndSignals::handle(int number) noexcept {
  const int error = errno;
  if (::getpid() != shared_.process) {
    ::signal(number, SIG_DFL);
    ::raise(number);  // when this handler is left
  } else if (shared_.count++ == 0) {
    static_cast<void>(::write(shared_.pipe, "", 1) == 1);
  } else if (number != SIGHUP) {  // which a terminal sends together with others when it closes
    for (std::size_t i = 0; i < shared_.files; ++i) {
      const File& file = shared_.file[i];
      if (same_file(file.path.data(), file.id)) ::unlink(file.path.data());
    }
    ::_exit(128 + number);
  }
  errno = error;
}

KETTLINGAR_COLD EndSignals::EndSignals() {
  Pipe pipe = make_pipe();
  reader_ = std::move(pipe.reader);
  writer_ = std::move(pipe.writer);
  for (const Fd* end : {&reader_, &writer_}) ::fcntl(end->get(), F_SETFL, O_NONBLOCK);
  shared_.process = ::getpid();
  shared_.pipe = writer_.get();
  shared_.count = 0;
  shared_.files = 0;
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;  // what handlers of methods wait for goes on
  ::sigfillset(&action.sa_mask);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    ::sigaction(numbers[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(numbers[i], &action, nullptr);
  }
}

KETTLINGAR_COLD EndSignals::~EndSignals() {
  for (std::size_t i = 0; i < numbers.size(); ++i) ::sigaction(numbers[i], &before_[i], nullptr);
  shared_.pipe = -1;
}

KETTLINGAR_COLD void EndSignals::add_file(const std::string& path) {
  const std::size_t i = shared_.files;
  FileInfo info{};
  if (i == shared_.file.size() || path.size() >= shared_.file[i].path.size() || ::lstat(path.c_str(), &info) != 0)
    return;
  std::memcpy(shared_.file[i].path.data(), path.c_str(), path.size() + 1);
  shared_.file[i].id = FileId(info);
  shared_.files = i + 1;
}

KETTLINGAR_COLD void EndSignals::when_asked(asio::io_context& loop, std::function<void()> end) {
  waiting_ = std::make_unique<asio::posix::stream_descriptor>(loop, reader_.get());
  reader_.release();
  waiting_->async_wait(asio::posix::stream_descriptor::wait_read,
                       WhenReady([end = std::move(end)](const asio::error_code& error) {
                         if (!error) end();
                       }));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
