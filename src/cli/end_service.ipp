// SPDX-License-Identifier: MIT
// cli/end_service.ipp: stop: a service is asked to end, waited for, and ended by force where that is wanted.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

#include "../base/errors.hpp"
#include "../call/loop.ipp"
#include "../client/client.hpp"
#include "../client/connect.ipp"
#include "../os/running_process.ipp"
#include "../os/socket.ipp"
#include "../os/state.ipp"
#include "command_line.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {
/// The process of ours at the other end of the unix socket, which Python services have without a lock; 0 if there is
/// none.
[[gnu::cold]] inline pid_t socket_process(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return 0;
  const Fd fd = connect_socket(*address, std::chrono::steady_clock::now() + std::chrono::seconds(1));
  const auto peer = fd ? peer_credentials(fd.get()) : std::nullopt;
  return peer && trusted_user(peer->uid) ? peer->pid : 0;
}

/// A service whose end is awaited.
class EndingService {
 public:
  explicit EndingService(const ServiceFiles& files)
      : files_(files),
        holder_(lock_holder(files.lock)),
        process_(holder_.held ? RunningProcess(holder_.pid, holder_.started)
                              : RunningProcess(holder_.foreign.empty() ? socket_process(files.socket) : 0, 0)) {}

  const LockHolder& holder() const noexcept { return holder_; }
  pid_t pid() const noexcept { return process_.pid(); }
  /// Waits until the process is gone or, if it is there for other things as well, the service in it. Of one whose
  /// process nobody can tell, a Python service without a unix socket, until nobody listens where its url file says.
  bool ended_within(std::chrono::milliseconds patience) const;
  /// Ends the process, SIGTERM first, and takes its files away. Throws NotRunning if that cannot be done.
  void end_by_force() const;

 private:
  bool has_lock() const;
  bool listens() const;

  const ServiceFiles& files_;
  const LockHolder holder_;
  const RunningProcess process_;
};

KETTLINGAR_COLD bool EndingService::has_lock() const {
  const LockHolder now = lock_holder(files_.lock);
  return !now.foreign.empty() || (now.held && now.pid == holder_.pid && now.started == holder_.started);
}

/// Where it cannot be told it does.
KETTLINGAR_COLD bool EndingService::listens() const {
  try {
    const ServiceAddress address = read_service_address(files_);
    for (const auto& target : {tcp_address(address.host, address.port), unix_address(address.socket)}) {
      if (!target) continue;
      const auto patience = std::chrono::milliseconds(200);
      if (connect_socket(*target, std::chrono::steady_clock::now() + patience)) return true;
      if (errno != ECONNREFUSED && errno != ENOENT) return true;
    }
    return false;
  } catch (const NotRunning& error) {
    return error.state() != ServiceState::not_running;
  } catch (const std::exception&) {
    return true;
  }
}

KETTLINGAR_COLD bool EndingService::ended_within(std::chrono::milliseconds patience) const {
  const bool by_process = (holder_.whole_process || !holder_.held) && process_.pid() != 0;
  if (by_process) return process_.ended_within(patience);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (holder_.held ? has_lock() : listens()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

KETTLINGAR_COLD void EndingService::end_by_force() const {
  if (!holder_.held || process_.pid() == 0) throw files_.silent("which process is to be ended cannot be told");
  // One that is stopped takes no other signal than SIGKILL.
  const bool asked = process_.signal(SIGTERM) && process_.signal(SIGCONT);
  if (!asked || !process_.ended_within(std::chrono::milliseconds(1500))) {
    process_.signal(SIGKILL);
    if (!process_.ended_within(std::chrono::seconds(1))) throw files_.silent("SIGKILL has not ended it");
  }
  // Unless a successor has come.
  InstanceLock lock(files_.lock);
  if (!lock.held()) return;
  for (const std::string* file : {&files_.url, &files_.socket, &files_.open_page}) ::unlink(file->c_str());
  lock.release();
}

/// What else there is for a service that does not end; nothing for one whose process cannot be told.
[[gnu::cold]] inline std::string force_hint(const ServiceFiles& files) {
  return lock_holder(files.lock).held ? "; stop --force ends it" : "";
}

/// Throws what is being handled, with the way out where a service does not answer.
[[noreturn, gnu::cold]] inline void rethrow_with_hint(const ServiceFiles& files) {
  try {
    throw;
  } catch (const NotRunning& error) {
    if (error.state() != ServiceState::silent) throw;
    throw NotRunning(error.what() + force_hint(files), ServiceState::silent);
  } catch (const PermissionDenied& error) {
    throw NotRunning(files.name + ": not ours: what answers does not know our token: " + with_status(error),
                     ServiceState::foreign);
  } catch (const UntrustedService&) {
    throw;
  } catch (const ConnectionError& error) {
    throw files.silent(error.what() + force_hint(files));
  }
}

KETTLINGAR_COLD Task<void> CommandLine::quit(Client client) { co_await client.async_call("quitquitquit"); }

/// Calls `quitquitquit`, and says what this waits for if it takes long. Throws what the call throws.
KETTLINGAR_COLD void CommandLine::ask_to_end(std::chrono::milliseconds patience) const {
  ClientOptions options;
  options.timeouts.connect = options.timeouts.first_byte = options.timeouts.total = patience;
  std::exception_ptr thrown;
  bool over = false;
  asio::io_context loop(1);
  spawn(loop.get_executor(), quit(ClientAccess::make(server_.settings, options)), [&](const std::exception_ptr& error) {
    thrown = error;
    over = true;
  });
  loop.run_for(std::chrono::seconds(2));
  if (!over) {
    const ServiceFiles files(server_.settings);
    note(files.silent("waiting for a handler that blocks, or for on_shutdown" + force_hint(files)).what());
    loop.run();
  }
  if (thrown) std::rethrow_exception(thrown);
}

/// Asks until that was heard: a service that starts or ends cannot be asked for a moment. False if nothing runs.
KETTLINGAR_COLD bool CommandLine::ask_until_heard(const EndingService& service,
                                                  std::chrono::milliseconds patience) const {
  const auto start = std::chrono::steady_clock::now();
  for (bool said = false;;) {
    try {
      ask_to_end(patience);
      return true;
    } catch (const NotRunning& error) {
      if (error.state() == ServiceState::not_running) return false;
      const auto waited = std::chrono::steady_clock::now() - start;
      if (error.state() == ServiceState::foreign || waited >= patience) throw;
      if (!said && waited >= std::chrono::seconds(2)) {
        note(error.what() + force_hint(ServiceFiles(server_.settings)));
        said = true;
      }
    }
    if (service.ended_within(std::chrono::milliseconds(20))) return true;
  }
}

/// Returns when it is gone; false if nothing ran.
KETTLINGAR_COLD bool CommandLine::end_service(bool force) const {
  using namespace std::chrono_literals;
  const ServiceFiles files(server_.settings);
  const EndingService service(files);
  if (!service.holder().foreign.empty()) throw files.not_running();
  const Limits& limits = server_.limits;
  try {
    if (!ask_until_heard(service, force ? 1500ms : limits.shutdown_timeout + 2 * limits.drain_timeout + 3s))
      return false;
    if (service.ended_within(force ? 500ms : 2s)) return true;
    if (!force) {
      note(files.silent("it has been asked to end, and is waited for" + force_hint(files)).what());
      if (service.ended_within(8s)) return true;
      throw ConnectionError("it has been asked to end, and has not ended yet");
    }
  } catch (const std::exception&) {
    // Somebody else may have stopped it at the same time.
    if (service.ended_within(force ? 100ms : 2s)) return true;
    if (!force || !service.holder().held) rethrow_with_hint(files);
  }
  service.end_by_force();
  return true;
}

KETTLINGAR_COLD ExitCode CommandLine::stop() {
  const bool force = take_word("--force");
  require_no_words();
  const bool stopped = end_service(force);
  json facts = facts_of(false);
  facts["stopped"] = stopped;
  say(stopped_text(stopped), facts);
  return ExitCode::fine;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
