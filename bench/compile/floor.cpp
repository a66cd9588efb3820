// The floor: a smallest program that uses Asio's coroutines and nlohmann_json together.
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

asio::awaitable<void> serve(asio::ip::tcp::socket socket) {
  char block[1024];
  for (;;) {
    const std::size_t n = co_await socket.async_read_some(asio::buffer(block), asio::use_awaitable);
    const std::string answer = nlohmann::json::parse(std::string(block, n)).dump();
    co_await asio::async_write(socket, asio::buffer(answer), asio::use_awaitable);
  }
}

asio::awaitable<void> listen(asio::ip::tcp::acceptor acceptor) {
  for (;;) {
    asio::ip::tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)), asio::detached);
  }
}

int main() {
  asio::io_context loop;
  asio::co_spawn(loop, listen({loop, {asio::ip::address_v4::loopback(), 0}}), asio::detached);
  loop.run();
}
