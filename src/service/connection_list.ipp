// SPDX-License-Identifier: MIT
// service/connection_list.ipp: the open connections of a service, and which of them go when there is no room.
#pragma once

#include "../base/version.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "connection.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE void ConnectionList::insert(Connection& connection) {
  auto& link = connection.link_;
  // The oldest one is the last.
  link.next = first_;
  if (first_ != nullptr) first_->link_.previous = &connection;
  first_ = &connection;
  link.listed = true;
  link.was_stranger = connection.stranger();
  strangers += link.was_stranger;
  link.present = true;
  ++open;
  ++present;
}

KETTLINGAR_INLINE void ConnectionList::remove(Connection& connection) {
  auto& link = connection.link_;
  if (!std::exchange(link.listed, false)) return;
  (link.previous != nullptr ? link.previous->link_.next : first_) = link.next;
  if (link.next != nullptr) link.next->link_.previous = link.previous;
  strangers -= std::exchange(link.was_stranger, false);
  --open;
}

KETTLINGAR_INLINE std::vector<std::shared_ptr<Connection>> ConnectionList::all() const {
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(open);
  for (Connection* one = first_; one != nullptr; one = one->link_.next) all.push_back(one->shared_from_this());
  return all;
}

template <class Fits, class Better>
Connection* ConnectionList::best(Fits fits, Better better) const {
  Connection* best = nullptr;
  for (Connection* one = first_; one != nullptr; one = one->link_.next) {
    if (fits(*one) && (best == nullptr || !better(*best, *one))) best = one;
  }
  return best;
}

/// Closes the oldest connection of a stranger, first of all one without a call; false if there is none.
KETTLINGAR_COLD bool Server::push_out_stranger() {
  Connection* oldest = connections_.best([](const Connection& one) { return one.stranger(); },
                                         [](const Connection& a, const Connection& b) { return a.busy() < b.busy(); });
  if (oldest != nullptr) oldest->close();
  return oldest != nullptr;
}

/// Closes a stranger's connection, else the one that has been idle for longest; false if there is none.
KETTLINGAR_COLD bool Server::make_room() {
  if (push_out_stranger()) return true;
  Connection* oldest =
      connections_.best([](const Connection& one) { return one.idle(); },
                        [](const Connection& a, const Connection& b) { return a.deadline() < b.deadline(); });
  if (oldest != nullptr) oldest->close();
  return oldest != nullptr;
}

KETTLINGAR_COLD bool Server::make_stream_room() {
  if (!streams_full()) return true;
  const Clock::time_point now = Clock::now();
  // As new ones are behind those that were there, nothing can be done before the time that was found last.
  if (stream_room.expiry() > now) return false;
  Connection* slowest =
      connections_.best([](const Connection& one) { return one.unsent() != 0; },
                        [](const Connection& a, const Connection& b) { return a.unsent_since() < b.unsent_since(); });
  const Clock::time_point due = slowest != nullptr ? slowest->unsent_since() + limits.stream_grace : now;
  // One at a time: hold_unsent() says when its item has gone.
  stream_room.expires_at(due > now ? due : Clock::time_point::max());
  if (slowest != nullptr && due <= now) slowest->end_slow_stream();
  return false;
}

KETTLINGAR_COLD void Server::await_stream_room(std::shared_ptr<Connection> connection) {
  waiting_for_room_.push_back(std::move(connection));
  if (std::exchange(awaits_room_, true)) return;
  when_expired(stream_room, [self = shared_from_this()](const asio::error_code&) {
    self->awaits_room_ = false;
    // In order; the first ones may fill it again.
    const auto waiting = std::exchange(self->waiting_for_room_, {});
    for (const std::shared_ptr<Connection>& one : waiting) one->room_found();
  });
}

KETTLINGAR_COLD void Server::await_no_stream_room(const Connection& connection) {
  std::erase_if(waiting_for_room_, [&](const std::shared_ptr<Connection>& one) { return one.get() == &connection; });
}

/// Whether there is room for one more connection, or could be made. TCP leaves an eighth to the unix socket.
KETTLINGAR_INLINE bool Server::room_for(bool over_unix_socket) {
  const std::size_t all = (std::min)(limits.connections, descriptors_allow_);
  const std::size_t strangers = (std::max<std::size_t>)(1, (std::min)(limits.stranger_connections, all / 2));
  if (!over_unix_socket && connections_.strangers >= strangers) return push_out_stranger();
  const std::size_t most = all - (over_unix_socket ? 0 : all / 8);
  return connections_.open < most || make_room();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
