// SPDX-License-Identifier: MIT
// cli/open_page.ipp: `open`: a browser is led to the explorer page, and no command line of it has the token.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>

#include <chrono>
#include <string>

#include "../os/process.ipp"
#include "../os/state.ipp"
#include "command_line.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A page that goes on to `url`, whose characters mean nothing in HTML.
[[gnu::cold]] inline std::string page_leading_to(const std::string& url) {
  return "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Explorer</title>\n<meta http-equiv=\"refresh\" "
         "content=\"0; url=" +
         url + "\">\n<p>On to <a href=\"" + url + "\">the explorer page</a>.</p>\n";
}

/// Has the browser of the desktop show `file`. False if there is none. One that runs on is left alone.
[[gnu::cold]] inline bool show_in_browser(const std::string& file) {
#if defined(__APPLE__)
  const char* const opener = "open";
#else
  const char* const opener = "xdg-open";
#endif
  ChildProgram program;
  program.path = "/usr/bin/env";  // looks along PATH
  program.words = {"env", opener, file};
  ChildProcess child(program);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!child.ended() && std::chrono::steady_clock::now() < end) ::poll(nullptr, 0, 10);
  return !child.ended() || !child.failed();
}

/// Where the page of the running service is, without the token. Throws what a call throws, and NotFound if the service
/// has none.
KETTLINGAR_COLD std::string CommandLine::explorer_url(const ServiceAddress& address) {
  if (address.host == "unix-domain")
    throw NotFound("browsers need TCP, on which the service does not listen (--worker-use-tcp)");
  json shown;
  try {
    const char* const option = "worker_use_explorer";
    const json reply = client().call<json>("config", arg("key") = option);
    const bool told = reply.is_object() && reply.contains("config") && reply["config"].is_object();
    if (told) shown = reply["config"].value(option, json());
  } catch (const PermissionDenied&) {
    throw;
  } catch (const Error&) {
    // It does not know the option, as those of other languages and versions.
  }
  if (shown != true) throw NotFound("the service has no explorer page (--worker-use-explorer)");
  return "http://" + address.host + ":" + std::to_string(address.port) +
         address.path.substr(0, address.path.rfind('/')) + "/explorer";
}

KETTLINGAR_COLD ExitCode CommandLine::open_page() {
  const bool print_only = take_word("--print");
  require_no_words();
  require_running();
  const ServiceFiles files(server_.settings);
  const ServiceAddress address = read_service_address(files);
  std::string url;
  try {
    url = explorer_url(address);
  } catch (const NotFound& error) {
    return fail(ExitCode::unknown, error.what());
  }
  bool opened = false;
  if (!print_only) {
    const std::string token = address.path.substr(address.path.rfind('/') + 1);
    write_private_file(files.open_page, page_leading_to(url + "#" + token));
    opened = show_in_browser(files.open_page);
  }
  json facts = facts_of(true);
  facts["explorer"] = url;
  facts["opened"] = opened;
  const std::string name = full_name() + ": ";
  say(name + "Explorer at " + url + "\n" + name + "It asks for the token, which is in " + files.url + "\n", facts);
  return print_only || opened ? ExitCode::fine
                              : fail(ExitCode::io_error, "there is no browser that xdg-open could open it in");
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
