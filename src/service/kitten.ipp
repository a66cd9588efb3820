// SPDX-License-Identifier: MIT
// service/kitten.ipp: the bodies of kitten.hpp.
#pragma once

#include "../call/host_executor.ipp"
#include "builtins.ipp"
#include "call_steps.ipp"
#include "kitten.hpp"
#include "listen.ipp"
#include "runner.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_COLD Kitten::Kitten(std::string app_name, std::string worker_name, std::string description)
    : Kitten(std::make_shared<detail::Runner>(), std::move(app_name), std::move(worker_name), std::move(description)) {}

KETTLINGAR_COLD Kitten::Kitten(asio::any_io_executor host, std::string app_name, std::string worker_name,
                               std::string description)
    : Kitten(std::make_shared<detail::Runner>(std::move(host)), std::move(app_name), std::move(worker_name),
             std::move(description)) {}

KETTLINGAR_COLD Kitten::Kitten(std::shared_ptr<detail::Runner> runner, std::string app_name, std::string worker_name,
                               std::string description)
    : runner_(std::move(runner)), server_(&runner_->server()) {
  detail::OwnedFile::remove_at_exit();
  server_->settings.app_name = std::move(app_name);
  server_->settings.worker_name = std::move(worker_name);
  server_->description = std::move(description);
  detail::add_builtin_options(server_->options, server_->settings, server_->limits);
  detail::add_builtin_methods(*server_, hooks_, [this] { return runner_->until_stopped(); });
}

KETTLINGAR_COLD Kitten::~Kitten() { runner_->end(); }

KETTLINGAR_COLD Kitten& Kitten::add(std::unique_ptr<detail::Method> method, bool is_public) {
  method->set_public(is_public);
  server_->methods.add(std::move(method));
  return *this;
}

KETTLINGAR_COLD std::string Kitten::why_not(void (Kitten::*begin)()) noexcept {
  try {
    (this->*begin)();
    return {};
  } catch (...) {
    const std::string words = detail::words_of(std::current_exception());
    return words.empty() ? "unknown" : words;
  }
}

KETTLINGAR_COLD std::string Kitten::try_start() noexcept { return why_not(&Kitten::start); }

KETTLINGAR_COLD std::string Kitten::try_start_thread() noexcept { return why_not(&Kitten::start_thread); }

KETTLINGAR_COLD void Kitten::require(bool now, const char* what) {
  if (!now) throw std::logic_error(std::string("kettlingar: ") + what);
}

KETTLINGAR_COLD Kitten& Kitten::set_fallback(std::unique_ptr<detail::Method> method, bool is_public) {
  method->set_public(is_public);
  method->set_takes_anything();
  server_->methods.set_fallback(std::move(method));
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::authenticator(std::function<bool(const Request&)> function) {
  require(runner_->may_be_used_here(), "authenticator() belongs before the start, or on the service's thread");
  server_->authenticator = std::move(function);
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::router(std::function<std::optional<RouteTo>(const Request&)> function) {
  require(runner_->may_be_used_here(), "router() belongs before the start, or on the service's thread");
  server_->router = std::move(function);
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::run_handlers_on(PostToHost post) {
  require(!runner_->serving(), "run_handlers_on() belongs before the start");
  server_->host = detail::HostExecutor(std::make_shared<const detail::HostPost>(std::move(post)), server_->executor,
                                       runner_->alive());
  return *this;
}

KETTLINGAR_COLD void Kitten::serve_connection(Socket connection) {
  require(runner_->may_be_used_here(), "serve_connection() belongs on the service's thread");
  server_->adopt(std::move(connection));
}

KETTLINGAR_COLD Kitten& Kitten::command_prefix(std::vector<std::string> words) {
  require(runner_->may_be_used_here(), "command_prefix() belongs before the start, or on the service's thread");
  server_->command_prefix = std::move(words);
  return *this;
}

KETTLINGAR_INLINE void Kitten::run() { runner_->run(); }

KETTLINGAR_INLINE void Kitten::start_thread() { runner_->start_thread(); }

KETTLINGAR_INLINE void Kitten::start() { runner_->start(); }

KETTLINGAR_INLINE std::size_t Kitten::poll() { return runner_->poll(); }

KETTLINGAR_INLINE std::size_t Kitten::poll_for(std::chrono::steady_clock::duration budget) {
  return runner_->poll_for(budget);
}

KETTLINGAR_INLINE void Kitten::stop() { runner_->stop(); }

KETTLINGAR_INLINE bool Kitten::running() const noexcept { return runner_->serving(); }

KETTLINGAR_INLINE const std::string& Kitten::url() const noexcept { return server_->tcp_url(); }

KETTLINGAR_INLINE const std::string& Kitten::socket_path() const noexcept { return server_->socket_path(); }

KETTLINGAR_INLINE const std::string& Kitten::token() const noexcept { return server_->token.text(); }

KETTLINGAR_INLINE Settings& Kitten::settings() noexcept { return server_->settings; }

KETTLINGAR_INLINE Limits& Kitten::limits() noexcept { return server_->limits; }

KETTLINGAR_COLD Kitten& Kitten::log_to(LogSink sink) {
  require(runner_->may_be_used_here(), "log_to() belongs before the start, or on the service's thread");
  server_->log.set_sink(std::move(sink));
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::add(detail::Option option, std::function<void()> changed) {
  require(runner_->may_be_used_here(), "option() belongs before the start, or on the service's thread");
  const std::string key = server_->options.add(std::move(option)).name;
  if (changed) {
    hooks_[key] = [key, changed = std::move(changed)] {
      changed();
      return json(key);
    };
  }
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::set_start_hook(std::function<Task<void>()> hook) {
  require(runner_->may_be_used_here(), "on_start() belongs before the start, or on the service's thread");
  runner_->start_hook = std::move(hook);
  return *this;
}

KETTLINGAR_COLD Kitten& Kitten::set_shutdown_hook(std::function<Task<void>()> hook) {
  require(runner_->may_be_used_here(), "on_shutdown() belongs before the start, or on the service's thread");
  runner_->shutdown_hook = std::move(hook);
  return *this;
}

}  // namespace v0_1
}  // namespace kettlingar
