// control_socket_asio.cpp: an echo server with an Asio loop and signals of its own gets a control socket on that loop.
//
//   control_socket_asio [--seconds=N] [--app-state-dir=DIR]   until Ctrl-C; says on which port it echoes
//   url=$(cat ~/.local/state/echo/server.url)
//   curl $url/connections                                     who is there, and how much they have said
//   curl -X POST $url/close_all
//   hello --app-name=echo --worker-name=server connections    the command line of any service will do
//
// The control socket is the lines that end in "// +"; without them (grep -v '// +$') it is the program as it was.
#include "kettlingar.hpp"  // +

#include <array>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace kt = kettlingar;  // +
using asio::ip::tcp;

class Echo {
 public:
  explicit Echo(asio::io_context& loop) : acceptor_(loop, {asio::ip::address_v4::loopback(), 0}) { accept(); }

  unsigned short port() const { return acceptor_.local_endpoint().port(); }

  // How many bytes each of those who are connected has sent.
  std::map<std::string, std::size_t> connections() const {
    std::map<std::string, std::size_t> bytes;
    for (const auto& [peer, session] : sessions_) bytes[peer] = session->bytes;
    return bytes;
  }
  std::size_t close_all() {
    for (const auto& [peer, session] : sessions_) session->socket.close();
    return sessions_.size();
  }
  void stop() {
    acceptor_.close();
    close_all();
  }

 private:
  struct Session {
    explicit Session(tcp::socket connected) : socket(std::move(connected)) {}
    tcp::socket socket;
    std::array<char, 4096> buffer{};
    std::size_t bytes = 0;
  };

  void accept() {
    acceptor_.async_accept([this](asio::error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      asio::error_code gone;
      const tcp::endpoint peer = socket.remote_endpoint(gone);
      if (!error && !gone) {
        const std::string name = peer.address().to_string() + ":" + std::to_string(peer.port());
        sessions_[name] = std::make_shared<Session>(std::move(socket));
        read(name, sessions_[name]);
      }
      accept();
    });
  }
  void read(const std::string& peer, const std::shared_ptr<Session>& session) {
    session->socket.async_read_some(asio::buffer(session->buffer),
                                    [this, peer, session](asio::error_code error, std::size_t size) {
                                      if (error) return forget(peer, session);
                                      session->bytes += size;
                                      write(peer, session, size);
                                    });
  }
  void write(const std::string& peer, const std::shared_ptr<Session>& session, std::size_t size) {
    asio::async_write(session->socket, asio::buffer(session->buffer, size),
                      [this, peer, session](asio::error_code error, std::size_t) {
                        if (error) return forget(peer, session);
                        read(peer, session);
                      });
  }
  void forget(const std::string& peer, const std::shared_ptr<Session>& session) {
    const auto found = sessions_.find(peer);
    if (found != sessions_.end() && found->second == session) sessions_.erase(found);
  }

  tcp::acceptor acceptor_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;
};

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
  asio::io_context loop;
  Echo echo(loop);
  asio::signal_set signals(loop, SIGINT, SIGTERM);
  asio::steady_timer timer(loop);
  kt::Kitten kitten(loop, "echo", "server", "Repeats what it is told.");  // +
  kitten.settings().app_state_dir = take(words, "app-state-dir");         // +
  if (!words.empty()) throw std::invalid_argument("unknown: " + words.front());

  const auto quit = [&] {
    echo.stop();
    signals.cancel();
    timer.cancel();
    kitten.stop();  // +
  };
  signals.async_wait([&](asio::error_code error, int) {
    if (!error) quit();
  });
  timer.expires_after(time);
  if (time.count() > 0) {
    timer.async_wait([&](asio::error_code error) {
      if (!error) quit();
    });
  }
  kitten.api("connections", echo, &Echo::connections, "Who is connected, and how many bytes they have sent.");  // +
  kitten.api("close_all", echo, &Echo::close_all, "Closes all connections; returns how many.");                 // +
  kitten.on_shutdown(quit);                                                                                     // +
  kitten.start();                                                                                               // +
  std::cout << "Control socket: " << kitten.socket_path() << std::endl;                                         // +

  std::cout << "Echoing on port " << echo.port() << std::endl;
  loop.run();
  std::cout << "Closed" << std::endl;
  return 0;
} catch (const std::exception& error) {
  std::cerr << "control_socket_asio: " << error.what() << std::endl;
  return 1;
}
