// SPDX-License-Identifier: MIT
// service/settings.hpp: the built-in options, under the names that the Python peers and their configuration files use.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/limits.hpp"
#include "../base/log.hpp"
#include "../base/version.hpp"
#include "options.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// The built-in options, bar those that are Limits. Each is a variable `--app-...` or `--worker-...`, see `help`. What
/// a program sets before the start is the default of the option: the command line and configuration files go before it.
struct Settings {
  std::string app_name = "kettlingar";
  std::string app_data_dir;
  std::string app_state_dir;
  std::string worker_name = "worker";
  std::string worker_config;
  int worker_nice = 0;
  int worker_umask = 0700;
  std::string worker_secret;
  std::string worker_secret_file;
  int worker_listen_queue = 128;
  double worker_accept_timeout = 1;
  std::string worker_listen_host = "127.0.0.1";
  std::string worker_allow_hosts;
  std::uint16_t worker_listen_port = 0;
  std::string worker_url_path;
  bool worker_use_tcp = true;
  bool worker_use_unixdomain = true;
  bool worker_use_msgpack = true;
  bool worker_use_explorer = true;
  int worker_log_level = static_cast<int>(LogLevel::info);
  std::string worker_log_file;
  std::size_t worker_log_size = std::size_t{16} * 1024 * 1024;
};

}  // namespace v0_1
}  // namespace kettlingar
