// SPDX-License-Identifier: MIT
// os/peer_owner.ipp: whose a TCP connection from this machine is.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#if defined(__linux__) && __has_include(<linux/inet_diag.h>)
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#define KETTLINGAR_HAS_SOCK_DIAG 1
#else
#define KETTLINGAR_HAS_SOCK_DIAG 0
#endif

#include <cstring>
#include <optional>

#include "../base/version.hpp"
#include "descriptor.hpp"
#include "socket.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The user who has the other end of the TCP connection `fd` open in a process of this machine. Nothing if that end is
/// elsewhere, is not held by a process (closed, or not accepted yet), or the system does not tell: Linux does.
std::optional<uid_t> tcp_peer_owner(int fd);

/// The same for the connection from `theirs` to `ours`, both IPv4 or both IPv6.
std::optional<uid_t> tcp_owner(const SocketAddress& theirs, const SocketAddress& ours);

KETTLINGAR_COLD std::optional<uid_t> tcp_peer_owner(int fd) {
  SocketAddress theirs, ours;
  theirs.size = ours.size = sizeof theirs.storage;
  if (::getpeername(fd, theirs.get(), &theirs.size) != 0 || ::getsockname(fd, ours.get(), &ours.size) != 0)
    return std::nullopt;
  return tcp_owner(theirs, ours);
}

#if KETTLINGAR_HAS_SOCK_DIAG
/// One end of a connection, as the kernel's question and answer have it.
[[gnu::cold]] inline void set_end(const SocketAddress& address, __be16& port, __be32 (&host)[4]) {
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address.storage, sizeof v4);
    port = v4.sin_port;
    host[0] = v4.sin_addr.s_addr;
  } else {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    port = v6.sin6_port;
    std::memcpy(host, &v6.sin6_addr, sizeof host);
  }
}

KETTLINGAR_COLD std::optional<uid_t> tcp_owner(const SocketAddress& theirs, const SocketAddress& ours) {
  const sa_family_t family = theirs.storage.ss_family;
  if ((family != AF_INET && family != AF_INET6) || ours.storage.ss_family != family) return std::nullopt;
  struct {
    nlmsghdr head{};
    inet_diag_req_v2 body{};
  } question;
  question.head.nlmsg_len = sizeof question;
  question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.head.nlmsg_flags = NLM_F_REQUEST;
  question.body.sdiag_family = static_cast<__u8>(family);
  question.body.sdiag_protocol = IPPROTO_TCP;
  question.body.idiag_states = ~0U;
  inet_diag_sockid& id = question.body.id;
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  set_end(theirs, id.idiag_sport, id.idiag_src);
  set_end(ours, id.idiag_dport, id.idiag_dst);
  if (family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &theirs.storage, sizeof v6);
    id.idiag_if = v6.sin6_scope_id;
  }
  const Fd kernel(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG));
  if (!kernel || ::send(kernel.get(), &question, sizeof question, 0) < 0) return std::nullopt;
  struct {
    nlmsghdr head{};
    inet_diag_msg body{};
    char more[256]{};
  } answer;
  const ssize_t n = retry_interrupted([&] { return ::recv(kernel.get(), &answer, sizeof answer, 0); });
  if (n < static_cast<ssize_t>(offsetof(decltype(answer), more)) || answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
    return std::nullopt;
  // Where there is no such connection, the kernel tells of a listener on that port.
  if (answer.body.id.idiag_sport != id.idiag_sport || answer.body.id.idiag_dport != id.idiag_dport) return std::nullopt;
  // What no process holds any more counts as root's there.
  if (answer.body.idiag_inode == 0) return std::nullopt;
  return answer.body.idiag_uid;
}
#else
KETTLINGAR_COLD std::optional<uid_t> tcp_owner(const SocketAddress&, const SocketAddress&) { return std::nullopt; }
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
