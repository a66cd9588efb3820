// SPDX-License-Identifier: MIT
// os/peer_owner.hpp: whose a TCP connection from this machine is.
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

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The user who has the other end of the TCP connection `fd` open in a process of this machine. Nothing if that end is
/// elsewhere, is not held by a process (closed, or not accepted yet), or the system does not tell: Linux does.
std::optional<uid_t> tcp_peer_owner(int fd);

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD std::optional<uid_t> tcp_peer_owner([[maybe_unused]] int fd) {
#if KETTLINGAR_HAS_SOCK_DIAG
  sockaddr_storage ends[2]{};  // theirs, ours
  for (const bool ours : {false, true}) {
    socklen_t size = sizeof ends[0];
    auto* end = reinterpret_cast<sockaddr*>(&ends[ours]);
    if ((ours ? ::getsockname(fd, end, &size) : ::getpeername(fd, end, &size)) != 0) return std::nullopt;
  }
  struct {
    nlmsghdr head{};
    inet_diag_req_v2 body{};
  } question;
  question.head.nlmsg_len = sizeof question;
  question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.head.nlmsg_flags = NLM_F_REQUEST;
  question.body.sdiag_protocol = IPPROTO_TCP;
  question.body.idiag_states = ~0U;
  inet_diag_sockid& id = question.body.id;
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (ends[0].ss_family == AF_INET) {
    sockaddr_in v4[2];
    std::memcpy(&v4[0], &ends[0], sizeof v4[0]);
    std::memcpy(&v4[1], &ends[1], sizeof v4[1]);
    question.body.sdiag_family = AF_INET;
    id.idiag_sport = v4[0].sin_port;
    id.idiag_dport = v4[1].sin_port;
    id.idiag_src[0] = v4[0].sin_addr.s_addr;
    id.idiag_dst[0] = v4[1].sin_addr.s_addr;
  } else if (ends[0].ss_family == AF_INET6) {
    sockaddr_in6 v6[2];
    std::memcpy(&v6[0], &ends[0], sizeof v6[0]);
    std::memcpy(&v6[1], &ends[1], sizeof v6[1]);
    question.body.sdiag_family = AF_INET6;
    id.idiag_sport = v6[0].sin6_port;
    id.idiag_dport = v6[1].sin6_port;
    std::memcpy(id.idiag_src, &v6[0].sin6_addr, sizeof id.idiag_src);
    std::memcpy(id.idiag_dst, &v6[1].sin6_addr, sizeof id.idiag_dst);
    id.idiag_if = v6[0].sin6_scope_id;
  } else {
    return std::nullopt;
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
  // What no process holds any more counts as root's there.
  if (answer.body.idiag_inode == 0) return std::nullopt;
  return answer.body.idiag_uid;
#else
  return std::nullopt;
#endif
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
