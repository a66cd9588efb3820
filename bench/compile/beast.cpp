// The smallest asynchronous HTTP server with Boost.Beast: what hello.cpp is compared with.
#include <utility>  // Boost 1.74 forgets it

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <iostream>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

asio::awaitable<void> serve(asio::ip::tcp::socket socket) {
  socket.set_option(asio::ip::tcp::no_delay(true));
  beast::tcp_stream stream(std::move(socket));
  beast::flat_buffer buffer;
  for (;;) {
    http::request<http::string_body> request;
    co_await http::async_read(stream, buffer, request, asio::use_awaitable);
    http::response<http::string_body> response(http::status::ok, request.version());
    response.set(http::field::content_type, "text/plain");
    response.keep_alive(request.keep_alive());
    response.body() = "Meow world, meow!\n";
    response.prepare_payload();
    co_await http::async_write(stream, response, asio::use_awaitable);
    if (!request.keep_alive()) co_return;
  }
}

asio::awaitable<void> listen(asio::ip::tcp::acceptor acceptor) {
  for (;;) {
    asio::co_spawn(acceptor.get_executor(), serve(co_await acceptor.async_accept(asio::use_awaitable)), asio::detached);
  }
}

int main() {
  asio::io_context loop;
  asio::ip::tcp::acceptor acceptor(loop, {asio::ip::address_v4::loopback(), 0});
  std::cout << acceptor.local_endpoint().port() << std::endl;
  asio::co_spawn(loop, listen(std::move(acceptor)), asio::detached);
  loop.run();
}
