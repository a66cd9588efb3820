// SPDX-License-Identifier: MIT
// service/socket_transport.ipp: the bytes and descriptors of one connection: what has come, and what is to leave.
#pragma once

#include "../base/version.hpp"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#if defined(__linux__)
#include <linux/sockios.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../call/served_call.ipp"
#include "../os/passing.hpp"
#include "../os/socket.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Room for bytes that are received. It is not filled with zeros first, and grows in place where it can.
class InputRoom {
 public:
  InputRoom() = default;
  InputRoom(const InputRoom&) = delete;
  InputRoom& operator=(const InputRoom&) = delete;
  ~InputRoom() { std::free(data_); }

  char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  /// Keeps what is there. Throws std::bad_alloc.
  void grow(std::size_t size) {
    void* grown = std::realloc(data_, size);
    if (grown == nullptr) throw std::bad_alloc();
    data_ = static_cast<char*>(grown);
    size_ = size;
  }
  void give_back() noexcept {
    std::free(std::exchange(data_, nullptr));
    size_ = 0;
  }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
};

/// One connected socket with its buffers. Decides nothing: it receives and sends what it can without waiting, and
/// remembers whether the socket has told that there is more.
class SocketTransport {
 public:
  /// From here on buffers are large: a connection does not keep them while it is idle.
  static constexpr std::size_t large_buffer = 64 * 1024;

  enum class Received { bytes, nothing, end, failed };

  explicit SocketTransport(Fd socket) : socket_(std::move(socket)) {}

  int descriptor() const noexcept { return socket_.get(); }
  Fd release() noexcept { return std::move(socket_); }

  // What has come.
  std::string_view input() const noexcept { return {room_.data() + begin_, end_ - begin_}; }
  /// The bytes from `offset` of the input on, which may be changed in place.
  char* input_at(std::size_t offset) noexcept { return room_.data() + begin_ + offset; }
  void consume(std::size_t size) noexcept { begin_ += size; }
  /// The last bytes of the input have been joined to others.
  void shorten(std::size_t size) noexcept { end_ = begin_ + size; }
  void drop_input() noexcept { begin_ = end_ = 0; }
  /// Makes room for more behind what is there: by moving that to the front, or by growing as the bytes come, never by
  /// what was announced. The input may be elsewhere afterwards.
  void make_room();
  bool has_large_room() const noexcept { return room_.size() > large_buffer; }
  /// The input is empty, and will be for a while.
  void give_back_room() noexcept {
    drop_input();
    room_.give_back();
  }
  /// Whether the socket may have something that receive() has not had yet.
  bool may_receive() const noexcept { return may_receive_; }
  void note_readable() noexcept { may_receive_ = true; }
  /// The peer sends no more than what may_receive() stands for.
  void note_end() noexcept { may_receive_ = may_end_ = true; }
  bool ended() const noexcept { return may_end_; }
  /// One read into the room that make_room() has made.
  Received receive();
  /// The same, with descriptors, which are owned before anything else happens.
  Received receive(ReceivedDescriptors& descriptors, const CloserPointer& closer);

  /// Whether bytes have come that receive() has not had: a request, most likely, which is owed an answer.
  bool has_unread() const noexcept {
    char byte = 0;
    return retry_interrupted([&] { return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT); }) > 0;
  }

  /// Nothing has come that is not read, and the peer's kernel has all that was sent: whatever comes now costs the peer
  /// nothing of it. False where that cannot be told.
  bool is_done() const noexcept {
#if defined(SIOCOUTQ)
    int on_its_way = 0;
    return begin_ == end_ && !may_receive_ && ::ioctl(socket_.get(), SIOCOUTQ, &on_its_way) == 0 && on_its_way == 0;
#else
    return false;
#endif
  }

  // What is to leave.
  AnswerBytes out;
  std::vector<Fd> out_descriptors;  ///< go with the byte of `out` at `out_descriptors_at`
  std::size_t out_descriptors_at = 0;
  bool has_sent_all() const noexcept { return out.empty(); }
  std::size_t unsent() const noexcept { return out.size() - sent_; }
  /// Bytes of all answers that have left.
  std::uint64_t total_sent() const noexcept { return total_sent_; }
  /// The same, with those that have not.
  std::uint64_t total() const noexcept { return total_sent_ + unsent(); }

  enum class Sent { all, some, nothing, failed };
  /// Sends over `fd`, this socket or another that gets the answer, what goes without waiting. After Sent::failed,
  /// errno says why.
  Sent send(int fd);
  /// Takes back the answer that was to come with descriptors, of which nothing has left.
  void drop_descriptor_answer() noexcept {
    out_descriptors.clear();
    out.collected.resize(out_descriptors_at);
    out.large.clear();
  }
  /// Takes what is to leave, for somebody else to write.
  std::string take_unsent();
  void drop_unsent() noexcept;

 private:
  static constexpr std::size_t smallest_room = 512;  // most requests need no more, and most connections are idle

  Received after_receive(ssize_t n, bool may_be_more);
  ssize_t send_part(int fd) const;

  Fd socket_;
  InputRoom room_;
  std::size_t begin_ = 0;  ///< first byte of the present request
  std::size_t end_ = 0;
  std::size_t sent_ = 0;  ///< of `out`
  std::uint64_t total_sent_ = 0;
  bool may_receive_ = false;
  bool may_end_ = false;
  bool was_filled_ = false;
};

KETTLINGAR_INLINE void SocketTransport::make_room() {
  if (begin_ > 0 && (begin_ == end_ || end_ == room_.size())) {
    std::memmove(room_.data(), room_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // A small one that was full once will be full again, and is soon as large as it ever needs to be; a large one grows
  // when there is no other way.
  const bool small = room_.size() < large_buffer;
  if (small ? was_filled_ || room_.size() == 0 : end_ == room_.size())
    room_.grow((std::max)(smallest_room, room_.size() * (small ? 4 : 2)));
  was_filled_ = false;
}

KETTLINGAR_INLINE SocketTransport::Received SocketTransport::after_receive(ssize_t n, bool may_be_more) {
  if (n > 0) {
    end_ += static_cast<std::size_t>(n);
    was_filled_ = end_ == room_.size();
    // A stream socket that had less than there was room for has nothing more, but for its end.
    may_receive_ = was_filled_ || may_be_more || may_end_;
    return Received::bytes;
  }
  may_receive_ = false;
  if (n == 0) return Received::end;
  return errno == EAGAIN || errno == EWOULDBLOCK ? Received::nothing : Received::failed;
}

// Others may have made the socket a blocking one: a connection that came from elsewhere is still open there.
KETTLINGAR_INLINE SocketTransport::Received SocketTransport::receive() {
  const ssize_t n =
      retry_interrupted([&] { return ::recv(socket_.get(), room_.data() + end_, room_.size() - end_, MSG_DONTWAIT); });
  return after_receive(n, false);
}

KETTLINGAR_INLINE SocketTransport::Received SocketTransport::receive(ReceivedDescriptors& descriptors,
                                                                     const CloserPointer& closer) {
  const std::size_t before = descriptors.owned.size();
  const ssize_t n = receive_with_descriptors(socket_.get(), room_.data() + end_, room_.size() - end_, most_descriptors,
                                             descriptors, closer);
  // Bytes that came with descriptors are not joined to those behind them.
  return after_receive(n, descriptors.owned.size() != before || descriptors.truncated);
}

KETTLINGAR_INLINE ssize_t SocketTransport::send_part(int fd) const {
  const std::string_view collected = out.collected;
  if (sent_ >= collected.size()) return send_some(fd, std::string_view(out.large).substr(sent_ - collected.size()));
  const std::string_view rest = collected.substr(sent_);
  if (!out_descriptors.empty()) {
    if (sent_ < out_descriptors_at) return send_some(fd, rest.substr(0, out_descriptors_at - sent_));
    return send_with_descriptors(fd, rest, out_descriptors);
  }
  return out.large.empty() ? send_some(fd, rest) : send_some(fd, rest, out.large);
}

KETTLINGAR_INLINE SocketTransport::Sent SocketTransport::send(int fd) {
  const std::uint64_t before = total_sent_;
  while (sent_ < out.size()) {
    const ssize_t n = send_part(fd);
    if (n < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) return Sent::failed;
      return total_sent_ != before ? Sent::some : Sent::nothing;
    }
    if (sent_ >= out_descriptors_at) out_descriptors.clear();
    sent_ += static_cast<std::size_t>(n);
    total_sent_ += static_cast<std::uint64_t>(n);
  }
  drop_unsent();
  return Sent::all;
}

KETTLINGAR_INLINE std::string SocketTransport::take_unsent() {
  std::string bytes = std::exchange(out.collected, {});
  bytes += out.large;
  bytes.erase(0, sent_);
  total_sent_ += bytes.size();
  drop_unsent();
  return bytes;
}

KETTLINGAR_INLINE void SocketTransport::drop_unsent() noexcept {
  sent_ = 0;
  out.collected.clear();
  if (out.collected.capacity() > 4 * large_buffer) out.collected = std::string();
  if (!out.large.empty()) out.large = std::string();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
