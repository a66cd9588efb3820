// SPDX-License-Identifier: MIT
// httplib.cpp: the same document from cpp-httplib, with one thread for each connection, as it needs them.
#include <httplib.h>

#include <iostream>

int main() {
  httplib::Server server;
  server.new_task_queue = [] { return new httplib::ThreadPool(40); };
  server.set_keep_alive_max_count(1'000'000'000);
  server.set_keep_alive_timeout(3600);
  server.set_tcp_nodelay(true);
  server.Get("/meow", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("Meow world, meow!\n", "text/plain");
  });
  std::cout << server.bind_to_any_port("127.0.0.1") << std::endl;
  server.listen_after_bind();
}
