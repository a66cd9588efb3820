// SPDX-License-Identifier: MIT
// client/client.ipp: the bodies of client.hpp.
#pragma once

#include "call_check.hpp"
#include "client.hpp"
#include "http_transport.ipp"
#include "starter.ipp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_INLINE const detail::Method& Client::method_of(const void* tag, const void* function) const {
  for (const auto& method : state_->methods) {
    if (method->is_function(tag, function)) return *method;
  }
  throw std::invalid_argument(state_->methods.empty()
                                  ? "kettlingar: this client knows no functions: call by name, or use Kitten::connect()"
                                  : "kettlingar: this function is not a method of the service: add it with api()");
}

KETTLINGAR_COLD Client detail::ClientAccess::make(std::shared_ptr<detail::Transport> transport,
                                                  Client::Methods methods) {
  auto state = std::make_shared<Client::State>();
  state->transport = std::move(transport);
  state->methods = std::move(methods);
  return Client(std::move(state));
}

KETTLINGAR_COLD Client detail::ClientAccess::make(const Settings& settings, const ClientOptions& options,
                                                  Client::Methods methods,
                                                  std::shared_ptr<const detail::StartPlan> plan) {
  return make(std::make_shared<detail::HttpTransport>(settings, options, std::move(plan)), std::move(methods));
}

KETTLINGAR_COLD const Client& detail::ClientAccess::require_pong(const Client& client,
                                                                 const detail::ServiceFiles& files) {
  std::exception_ptr thrown;
  json pong;
  try {
    pong = client.call("ping");
  } catch (...) {
    thrown = std::current_exception();
  }
  check_pong(pong, thrown, files);
  return client;
}

KETTLINGAR_INLINE Task<Client> detail::ClientAccess::async_require_pong(Client client, detail::ServiceFiles files) {
  std::exception_ptr thrown;
  json pong;
  try {
    pong = co_await client.async_call("ping");
  } catch (...) {
    thrown = std::current_exception();
  }
  check_pong(pong, thrown, files);
  co_return client;
}

KETTLINGAR_COLD void detail::ClientAccess::check_pong(const json& pong, const std::exception_ptr& thrown,
                                                      const detail::ServiceFiles& files) {
  std::string why = "something else answers";
  try {
    if (thrown) std::rethrow_exception(thrown);
    if (pong.is_object() && pong.contains("pong") && pong["pong"] == true) return;
    if (detail::is_document(pong)) why = "what answers does not know our token";
  } catch (const PermissionDenied& error) {
    why = "what answers does not know our token: " + detail::with_status(error);
  } catch (const Error& error) {
    throw files.silent(detail::with_status(error));
  } catch (const detail::UntrustedService& error) {
    throw NotRunning(files.name + ": " + error.what(), ServiceState::foreign);
  } catch (const ConnectionError& error) {
    throw files.silent(error.what());
  }
  throw NotRunning(files.name + ": not ours: " + why, ServiceState::foreign);
}

/// What is about to end, or to start, is asked again for a while where it would be started, too.
KETTLINGAR_COLD Task<Client> detail::ClientAccess::async_require_started(Client client, detail::ServiceFiles files) {
  constexpr std::chrono::milliseconds pause{20};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    try {
      co_return co_await async_require_pong(client, files);
    } catch (const NotRunning& error) {
      if (error.state() != ServiceState::silent || std::chrono::steady_clock::now() >= deadline) throw;
    }
    co_await sleep_for(pause);
  }
}

KETTLINGAR_COLD const Client& detail::ClientAccess::require_started(const Client& client,
                                                                    const detail::ServiceFiles& files) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    try {
      return require_pong(client, files);
    } catch (const NotRunning& error) {
      if (error.state() != ServiceState::silent || std::chrono::steady_clock::now() >= deadline) throw;
    }
    ::poll(nullptr, 0, 20);
  }
}

namespace detail {

inline Settings client_settings(const std::string& app, const std::string& worker, const ClientOptions& options) {
  if (!safe_file_name(app) || !safe_file_name(worker))
    throw InvalidArgument("'" + log_escaped(app + "/" + worker) + "' cannot be the name of a service");
  Settings settings;
  settings.app_name = app;
  settings.worker_name = worker;
  settings.app_state_dir = options.state_directory;
  try {
    normalise(settings);
  } catch (const std::system_error& error) {
    throw ConnectionError(error.what());
  }
  return settings;
}

/// What has to be said to a program so that it becomes the service that `options` describe here.
inline HiddenWords differing_options(const Options& options) {
  std::vector<std::string> words;
  for (const Option& option : options.all()) {
    const json value = option.get();
    // What a configuration file said is in the values.
    if (option.name == "worker_config" || value == option.declared) continue;
    words.push_back("--" + option.name + "=" + option_text(value));
  }
  return hide_secrets(options, std::move(words));
}

inline Client client_of(const Settings& present, std::vector<std::shared_ptr<const Method>> methods,
                        std::shared_ptr<const StartPlan> plan = {}) {
  Settings settings = present;
  normalise(settings);
  ClientOptions options;
  options.use_unix_socket = settings.worker_use_unixdomain;
  options.use_tcp = settings.worker_use_tcp;
  options.use_msgpack = settings.worker_use_msgpack;
  const bool starts = plan != nullptr;
  const Client client = detail::ClientAccess::make(settings, options, std::move(methods), std::move(plan));
  const ServiceFiles files(settings);
  return starts ? detail::ClientAccess::require_started(client, files)
                : detail::ClientAccess::require_pong(client, files);
}

}  // namespace detail

KETTLINGAR_COLD Client Client::connect(const std::string& app, const std::string& worker,
                                       const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return detail::ClientAccess::require_pong(detail::ClientAccess::make(settings, options),
                                            detail::ServiceFiles(settings));
}

KETTLINGAR_INLINE Task<Client> Client::async_connect(std::string app, std::string worker,
                                                     const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return detail::ClientAccess::async_require_pong(detail::ClientAccess::make(settings, options),
                                                  detail::ServiceFiles(settings));
}

namespace detail {

KETTLINGAR_COLD std::shared_ptr<const StartPlan> start_plan(const Settings& settings, const AutoStart& start) {
  auto plan = std::make_shared<StartPlan>();
  plan->how = start;
  plan->name = settings.app_name + "/" + settings.worker_name;
  plan->words.words.push_back("--worker-name=" + settings.worker_name);
  if (!settings.app_state_dir.empty()) plan->words.words.push_back("--app-state-dir=" + settings.app_state_dir);
  return plan;
}

}  // namespace detail

KETTLINGAR_COLD Client Client::connect(const std::string& app, const std::string& worker, const AutoStart& start,
                                       const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return detail::ClientAccess::require_started(
      detail::ClientAccess::make(settings, options, {}, detail::start_plan(settings, start)),
      detail::ServiceFiles(settings));
}

KETTLINGAR_COLD Task<Client> Client::async_connect(std::string app, std::string worker, const AutoStart& start,
                                                   const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return detail::ClientAccess::async_require_started(
      detail::ClientAccess::make(settings, options, {}, detail::start_plan(settings, start)),
      detail::ServiceFiles(settings));
}

KETTLINGAR_COLD Client Kitten::connect() { return detail::client_of(server_->settings, server_->methods.all()); }

KETTLINGAR_COLD Client Kitten::connect(const AutoStart& start) {
  const Settings& settings = server_->settings;
  auto plan = std::make_shared<detail::StartPlan>();
  plan->how = start;
  if (start.program.empty() && start.command_prefix.empty()) plan->how.command_prefix = server_->command_prefix;
  plan->words = detail::differing_options(server_->options);
  plan->name = settings.app_name + "/" + settings.worker_name;
  return detail::client_of(settings, server_->methods.all(), std::move(plan));
}

}  // namespace v0_1
}  // namespace kettlingar
