// filecat.cpp: open files that travel, and answers that others give: what only a unix socket can do.
#include "kettlingar.hpp"

#include <optional>
#include <string>
#include <utility>

namespace kt = kettlingar;

class FileCat : public kt::Kitten {
 public:
  FileCat() : Kitten("filecat", "milton", "filecat - A kettlingar microservice sharing file descriptors") {
    api("cat", &FileCat::cat, "Returns what can be read from an open file.", kt::arg("fd"));
    api("read", &FileCat::read, "Returns a file, opened for reading.", kt::arg("path"));
    api("play_with", &FileCat::play_with, "Connects to another worker, for ping_pong.", kt::arg("other_worker_name"));
    api("ping_pong", &FileCat::ping_pong, "Plays ping-pong: each worker answers in turn, on the same connection.",
        kt::arg("ball"), kt::arg("count") = 5);
  }

 private:
  // Reading does not keep others waiting, even if the file is a pipe that somebody has yet to write to.
  kt::Task<kt::Bytes> cat(kt::Fd fd) {
    const std::string text = co_await kt::async_read_all(fd);
    co_return kt::Bytes(text.begin(), text.end());
  }

  kt::File read(std::string path) { return kt::File::open(path, "rb"); }

  kt::Task<bool> play_with(std::string other_worker_name) {
    kt::ClientOptions options;
    options.state_directory = settings().app_state_dir;
    other_ = co_await kt::Client::async_connect(settings().app_name, other_worker_name, options);
    co_return true;
  }

  kt::Generator<std::string> ping_pong(kt::Request& request, std::string ball, int count) {
    const std::string me = "I am " + settings().worker_name;
    if (--count < 1 || !other_) {
      co_yield me + ", I am keeping " + ball;
      co_return;
    }
    co_yield me + ", sending " + ball + " back!";
    // The other one goes on with this very answer; nothing may be yielded once it has said that it will.
    co_await other_->async_call("ping_pong", kt::reply_to(request), ball, count);
  }

  std::optional<kt::Client> other_;
};

int main(int argc, char** argv) { return FileCat().main(argc, argv); }
