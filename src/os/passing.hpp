// SPDX-License-Identifier: MIT
// os/passing.hpp: open files and sockets that travel: what they are called in messages, and how the kernel carries
// them.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/version.hpp"
#include "descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Who connected over a unix socket, at the time of connect().
struct PeerCredentials {
  uid_t uid;
  gid_t gid;
  pid_t pid;  ///< 0 where the system does not tell
};

/// An open file with the mode in which its receiver uses it, in the words of fopen() and Python: one of `r w a x`, then
/// perhaps `+`, `b` or `t`. Python receivers get text from it unless there is a `b`.
class File : public Fd {
 public:
  File() = default;
  /// Takes ownership. An empty mode means what the descriptor allows: `rb`, `wb`, `rb+`, or `ab` if it can only be
  /// appended to; no descriptor at all is `rb`. Throws std::invalid_argument for a mode that is none, and with an empty
  /// mode std::system_error for a descriptor that is not open.
  explicit File(Fd fd, std::string mode = {});
  /// Opens a file, close-on-exec; new ones get mode 0666 minus umask. Throws std::system_error, std::invalid_argument.
  static File open(const std::string& path, std::string mode = "rb");

  const std::string& mode() const noexcept { return mode_; }

 private:
  std::string mode_ = "rb";
};

/// An open socket, with what its receiver has to know about it.
class Socket : public Fd {
 public:
  Socket() = default;
  /// Takes ownership; asks the kernel what kind of socket it is. Throws std::system_error if it is none.
  explicit Socket(Fd fd);
  Socket(Fd fd, int family, int type, int protocol)
      : Fd(std::move(fd)), family_(family), type_(type), protocol_(protocol) {}

  /// AF_UNIX, AF_INET, AF_INET6; SOCK_STREAM, SOCK_DGRAM; the protocol, 0 for the usual one.
  int family() const noexcept { return family_; }
  int type() const noexcept { return type_; }
  int protocol() const noexcept { return protocol_; }

 private:
  int family_ = 0;
  int type_ = 0;
  int protocol_ = 0;
};

namespace detail {

inline constexpr std::string_view file_placeholder = "_FD_BRE_MAGIC_-";
inline constexpr std::string_view socket_placeholder = "_SO_BRE_MAGIC_-";

/// What stands for a descriptor in a message, as the Python peers write it.
struct Placeholder {
  bool is_socket = false;
  std::string mode = {};
  int family = 0;
  int type = 0;
  int protocol = 0;

  std::string text() const {
    if (!is_socket) return std::string(file_placeholder) + mode;
    return std::string(socket_placeholder) + std::to_string(family) + "-" + std::to_string(type) + "-" +
           std::to_string(protocol);
  }
};

bool is_placeholder(std::string_view text);

/// True for `r`, `wb+`, `a`, `xt` and so on.
bool is_file_mode(std::string_view mode);

/// Nothing if `text` is not a whole placeholder.
std::optional<Placeholder> parse_placeholder(std::string_view text);

/// What `fd` is called in a message; asks the kernel. Throws std::system_error for what is not open.
Placeholder describe_descriptor(int fd);

/// Most descriptors in one message whatever the configuration says; the kernel's own limit is 253.
inline constexpr std::size_t most_descriptors = 253;

/// Room for the control messages of as many descriptors.
class ControlBuffer {
 public:
  explicit ControlBuffer(std::size_t descriptors)
      : size_(CMSG_SPACE((std::min)(descriptors, most_descriptors) * sizeof(int))) {}

  void attach_for_receiving(msghdr& message) {
    message.msg_control = bytes_;
    message.msg_controllen = size_;
  }
  void attach_for_sending(msghdr& message) {
    std::memset(bytes_, 0, size_);  // padding between headers goes to the kernel, too
    attach_for_receiving(message);
  }

 private:
  alignas(cmsghdr) char bytes_[CMSG_SPACE(most_descriptors * sizeof(int))];
  std::size_t size_;
};

/// Like send_some(), with descriptors on the first byte; they have been sent if anything has. -1 with errno EINVAL for
/// more than 253.
ssize_t send_with_descriptors(int socket, std::string_view bytes, std::span<const Fd> descriptors);

/// What came besides the bytes.
struct ReceivedDescriptors {
  std::vector<Fd> owned = {};
  bool truncated = false;  ///< there were more than fit, or this process could not have more open
};

/// Receives what is there without waiting; descriptors come close-on-exec and owned, at most `most` of them, to be
/// closed by `closer` if there is one. -1 with errno set if nothing is there.
///
/// What does not fit is closed by the kernel within this call, and may keep it waiting: for what strangers send, `most`
/// is most_descriptors.
ssize_t receive_with_descriptors(int socket, char* data, std::size_t size, std::size_t most,
                                 ReceivedDescriptors& descriptors, const CloserPointer& closer = {});

/// True if close() will not wait: for pipes, and for sockets of the internet, which no longer linger then.
bool make_closable(int fd) noexcept;

/// For a thread that may wait for a file, but not for whoever else holds a socket: closes there and then.
const CloserPointer& closing_here();

/// Closes a stream socket of ours, which nobody shares. Descriptors that wait in it unread would be closed by the
/// kernel within close(); `closer` gets them instead, or the socket itself if there are too many.
void close_connection(Fd socket, const CloserPointer& closer) noexcept;

}  // namespace detail

}  // namespace v0_1
}  // namespace kettlingar
