// accept_and_pass.cpp: a front process accepts TCP connections and passes each one on to a worker, which answers.
//
//   accept_and_pass front [--port=N] [--connections=N] [--app-state-dir=DIR]   starts two workers, and stops them
//   accept_and_pass --worker-name=tom ping                                     each of them is a service as any other
#include "kettlingar.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kt = kettlingar;

class Worker : public kt::Kitten {
 public:
  Worker() : Kitten("accept_and_pass", "tom", "A worker that answers on connections which others have accepted.") {
    public_api("web_root", &Worker::page, "Says who answers.");
    api("serve", &Worker::serve, "Takes a connection over.", kt::arg("connection"));
  }

  void serve(kt::Socket connection) { serve_connection(std::move(connection)); }

 private:
  kt::Result page() {
    return kt::text("I am " + settings().worker_name + ", process " + std::to_string(::getpid()) + "\n");
  }
};

// The value of `--name=value` among the arguments.
std::string option(const std::vector<std::string>& arguments, const std::string& name, const std::string& fallback) {
  for (const std::string& argument : arguments) {
    if (argument.starts_with("--" + name + "=")) return argument.substr(name.size() + 3);
  }
  return fallback;
}

class Front {
 public:
  explicit Front(const std::vector<std::string>& arguments)
      : acceptor_(loop_, {asio::ip::address_v4::loopback(),
                          static_cast<unsigned short>(std::stoi(option(arguments, "port", "0")))}),
        signals_(loop_, SIGINT, SIGTERM),
        connections_(std::stoi(option(arguments, "connections", "-1"))) {
    kt::ClientOptions options;
    options.state_directory = option(arguments, "app-state-dir", "");
    for (const char* name : {"tom", "kitty"})
      workers_.push_back(kt::Client::connect("accept_and_pass", name, kt::auto_start, options));
  }
  ~Front() {
    for (const kt::Client& worker : workers_) {
      try {
        worker.call("quitquitquit");
      } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
      }
    }
  }

  void run() {
    std::cout << "Listening on http://127.0.0.1:" << acceptor_.local_endpoint().port() << "/" << std::endl;
    signals_.async_wait([this](asio::error_code, int) { loop_.stop(); });
    accept();
    loop_.run();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](asio::error_code error, asio::ip::tcp::socket connection) {
      if (!error) pass_on_when_it_speaks(std::make_shared<asio::ip::tcp::socket>(std::move(connection)));
      accept();
    });
  }

  // A connection over which nothing comes is nothing for a worker, which would close it when it is told to stop.
  void pass_on_when_it_speaks(std::shared_ptr<asio::ip::tcp::socket> connection) {
    connection->async_wait(asio::ip::tcp::socket::wait_read, [this, connection](asio::error_code error) {
      if (!error) pass_on(kt::Socket(kt::Fd(connection->release())));
      if (connections_ > 0 && --connections_ == 0) loop_.stop();
    });
  }

  // The connection is the worker's once the call has been made; our end of it closes by itself.
  void pass_on(kt::Socket connection) {
    try {
      workers_[next_++ % workers_.size()].call("serve", std::move(connection));
    } catch (const std::exception& error) {
      std::cerr << "not served: " << error.what() << '\n';
    }
  }

  asio::io_context loop_;
  asio::ip::tcp::acceptor acceptor_;
  asio::signal_set signals_;
  std::vector<kt::Client> workers_;
  std::size_t next_ = 0;
  int connections_;
};

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments.front() != "front") return Worker().main(argc, argv);
  try {
    Front(arguments).run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "accept_and_pass: " << error.what() << '\n';
    return 1;
  }
}
