// SPDX-License-Identifier: MIT
// call/method.hpp: functions as methods: binding of arguments, one erased call for every handler form.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../wire/codec.hpp"
#include "argument.hpp"
#include "convert.hpp"
#include "request.hpp"
#include "result.hpp"
#include "signature.hpp"
#include "transfer.hpp"
#include "type_info.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// What stands behind the description where a method is added: a parameter or a mark.
struct MethodWord {
  MethodWord(const Arg& the_argument) : argument(&the_argument) {}
  MethodWord(const MethodMark& the_mark) : mark(&the_mark) {}

  const Arg* argument = nullptr;
  const MethodMark* mark = nullptr;
};

/// The key that holds positional arguments in a request's map.
inline constexpr std::string_view positional_key = "_args";
/// The key that says how much of the answer has been sent to the first descriptor of a call.
inline constexpr const char* reply_to_key = "reply_to_first_fd";
/// The header line with which such a call says that whoever reads the answer does not insist on bare LF: `crlf`.
inline constexpr std::string_view reply_line_ends = "Reply-Line-Ends";

/// Appends `value` to `out`; JSON ends with a line end, for line-based readers.
template <class Json>
CodecError encode(const Json& value, Format format, std::string& out) {
  if (format == Format::msgpack) return encode_msgpack(value, out);
  const CodecError error = encode_json(value, out);
  if (!error) out += '\n';
  return error;
}

CodecError encode(const Scalar& value, Format format, std::string& out);

/// Appends a handler's result or item. nlohmann::json goes straight into the bytes, without becoming a kt::json first.
template <class T>
CodecError encode_result(const T& value, Format format, std::string& out) {
  if constexpr (PlainValue<T>) {
    return encode(scalar_of(value), format, out);
  } else if constexpr (std::is_same_v<T, json> || std::is_same_v<T, nlohmann::json>) {
    return encode(value, format, out);
  } else if constexpr (is_bytes<T> || is_instance<T, std::optional> || to_ordered_json<T>) {
    return encode(to_json_value(value), format, out);
  } else {
    static_assert(to_plain_json<T>,
                  "kettlingar: the type of a result must be one that nlohmann_json converts: see "
                  "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE, or return kt::Result for a document");
    return encode(nlohmann::json(value), format, out);
  }
}

/// True for what encode_result() takes.
template <class T>
inline constexpr bool can_be_item =
    PlainValue<T> || std::is_same_v<T, json> || std::is_same_v<T, nlohmann::json> || is_bytes<T> ||
    is_instance<T, std::optional> || to_ordered_json<T> || to_plain_json<T>;

/// Makes sure that the bytes of an item are there in a format. With the mutex of `encoded` held, or before anybody else
/// has it.
template <class T>
CodecError encode_shared(const T& value, EncodedItem& encoded, Format format) {
  std::string& bytes = encoded.bytes[format == Format::msgpack ? 1 : 0];
  if (!bytes.empty()) return {};
  const CodecError error = encode_result(value, format, bytes);
  if (error) bytes.clear();
  return error;
}

/// Appends an item that other streams send, too, maybe on other threads: it is encoded once for each format.
template <class T>
CodecError append_shared(const T& value, EncodedItem& encoded, Format format, std::string& out) {
  const std::lock_guard lock(encoded.mutex);
  const CodecError error = encode_shared(value, encoded, format);
  if (!error) out += encoded.bytes[format == Format::msgpack ? 1 : 0];
  return error;
}

/// A running generator, whatever its item type.
class ItemStream {
 public:
  enum class Step { item, waiting, done };

  virtual ~ItemStream() = default;
  /// Runs the handler up to its next item, wait or end; rethrows what it threw.
  virtual Step resume(const asio::any_io_executor& executor) = 0;
  /// After Step::waiting: await this before the next resume().
  virtual Task<void> take_pending() = 0;
  /// After Step::item: appends the item. Not for documents and events.
  virtual CodecError encode_item(Format format, std::string& out) const = 0;
  /// After Step::item: the item as a value, for server-sent events.
  virtual json item() const = 0;
  /// After Step::item: the item if it is a document.
  virtual const Result* document() const { return nullptr; }
  /// After Step::item: the item if it is a part of a whole answer.
  virtual const RawReply* raw() const { return nullptr; }
  /// True if the items are kt::RawReply.
  virtual bool is_raw_stream() const = 0;
  /// True if the items are kt::Event.
  virtual bool is_event_stream() const = 0;
  /// True if the items are kt::Result: the content type is not known before the first one.
  virtual bool is_document_stream() const = 0;
};

template <class T>
class GeneratorStream final : public ItemStream {
  static_assert(!holds_descriptors<T>, "kettlingar: open descriptors can be results, but not items of a stream");

 public:
  explicit GeneratorStream(Generator<T> items) : items_(std::move(items)) {}

  Step resume(const asio::any_io_executor& executor) override {
    switch (items_.resume(executor)) {
      case Generator<T>::Step::item:
        return Step::item;
      case Generator<T>::Step::waiting:
        return Step::waiting;
      case Generator<T>::Step::done:
        break;
    }
    return Step::done;
  }
  Task<void> take_pending() override { return items_.take_pending(); }

  CodecError encode_item(Format format, std::string& out) const override {
    if constexpr (std::is_same_v<T, Event> || std::is_same_v<T, Result> || std::is_same_v<T, RawReply>) {
      return encode(item(), format, out);
    } else if (EncodedItem* shared = items_.encoded()) {
      return append_shared(items_.item(), *shared, format, out);
    } else {
      return encode_result(items_.item(), format, out);
    }
  }
  json item() const override {
    if constexpr (std::is_same_v<T, Event>) {
      return items_.item().fields;
    } else if constexpr (std::is_same_v<T, Result>) {
      return json(items_.item().data);
    } else if constexpr (std::is_same_v<T, RawReply>) {
      return bytes(items_.item().bytes);
    } else {
      return to_json_value(items_.item());
    }
  }
  const Result* document() const override {
    if constexpr (std::is_same_v<T, Result>) {
      return &items_.item();
    } else {
      return nullptr;
    }
  }
  const RawReply* raw() const override {
    if constexpr (std::is_same_v<T, RawReply>) {
      return &items_.item();
    } else {
      return nullptr;
    }
  }
  bool is_raw_stream() const override { return std::is_same_v<T, RawReply>; }
  bool is_event_stream() const override { return std::is_same_v<T, Event>; }
  bool is_document_stream() const override { return std::is_same_v<T, Result>; }

 private:
  Generator<T> items_;
};

/// A parameter as callers see it.
struct Parameter {
  std::string name;
  std::string type;  ///< empty: any
  std::shared_ptr<const json> fallback;
  bool takes_descriptors = false;  ///< placeholders in its value stand for open descriptors
  const TypeInfo* info = &type_info<json>;
  std::shared_ptr<const json> facts = {};  ///< Arg::facts(), since validate() as the type has them

  bool required() const noexcept { return !fallback; }
};

/// `int` of `int | None`.
inline std::string_view base_type(const Parameter& parameter) {
  return std::string_view(parameter.type).substr(0, parameter.type.find(' '));
}

class Method;

/// Where the value of one parameter is: in the tree of arguments or a default, or still in the bytes of the body.
struct Slot {
  const json* value = nullptr;
  std::optional<Scalar> scalar = {};

  bool filled() const noexcept { return value != nullptr || scalar; }
};

/// One call on its way through a handler: arguments in, and out comes a result in `body`, a document, a stream, or
/// something to await after which `body` or `document` is there.
struct Call {
  /// `room` gives the slots a buffer that has been used before.
  Call(Request& the_request, Format the_format, std::vector<Slot> room = {})
      : request(the_request), format(the_format), slots(std::move(room)) {}

  /// Argument `i` as a T. Throws BadValue.
  template <class T>
  T take(std::size_t i) {
    current = i;
    const Slot& slot = slots[i];
    if constexpr (holds_descriptors<T>) {  // never bound as a scalar
      DescriptorQueue none;
      return take_value<T>(*slot.value, claimed.empty() ? none : claimed[i]);
    } else {
      return slot.scalar ? from_scalar<T>(*slot.scalar) : from_json<T>(*slot.value);
    }
  }

  template <class T>
  void finish(T&& value) {
    using Value = std::remove_cvref_t<T>;
    if constexpr (std::is_same_v<Value, Result>) {
      document = std::forward<T>(value);
    } else if constexpr (std::is_same_v<Value, RawReply>) {
      raw = std::forward<T>(value);
    } else if constexpr (holds_descriptors<Value>) {
      codec_error = encode(put_result(std::forward<T>(value), descriptors), format, body);
    } else {
      codec_error = encode_result(value, format, body);
    }
  }

  Request& request;
  Format format;
  std::vector<Slot> slots;               ///< one for each parameter
  std::vector<DescriptorQueue> claimed;  ///< for each parameter; empty if no descriptors came
  bool bound = false;                    ///< `slots` have been filled by Method::bind_scalars()
  std::size_t current = 0;               ///< the argument being converted, for the error text
  std::string body;                      ///< the encoded result
  std::vector<Fd> descriptors;           ///< of the result, to be sent with it
  CodecError codec_error;                ///< why the result could not be encoded
  std::optional<Result> document;
  std::optional<RawReply> raw;
  std::unique_ptr<ItemStream> stream;
  Task<void> pending;
};

// By value, so that the frame owns the Task; the Call lives in the frame of the connection that awaits this.
template <class T>
Task<void> finish_later(Task<T> task, Call* call) {
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    call->finish(nullptr);
  } else {
    T value = co_await std::move(task);
    call->finish(std::move(value));
  }
}

/// A named function with everything `help`, `ping` and the binding of arguments need to know. Kept alive by whoever
/// runs it.
class Method {
 public:
  Method(std::string name, std::string doc);
  virtual ~Method();
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;

  const std::string& name() const noexcept { return name_; }
  const std::string& doc() const noexcept { return doc_; }
  const std::vector<Parameter>& parameters() const noexcept { return parameters_; }
  const std::string& returns() const noexcept { return returns_; }
  bool streams() const noexcept { return streams_; }
  bool is_public() const noexcept { return is_public_; }
  bool is_builtin() const noexcept { return is_builtin_; }
  bool post_only() const noexcept { return post_only_; }
  bool takes_anything() const noexcept { return takes_anything_; }
  /// True if the handler gets the kt::Request, and with it the connection of its caller.
  bool takes_request() const noexcept { return takes_request_; }
  bool is_read_only() const noexcept { return is_read_only_; }
  bool is_hidden() const noexcept { return is_hidden_; }
  /// True if open descriptors are among its arguments or results.
  bool passes_descriptors() const noexcept;
  /// Of a result, or of an item of the stream.
  json result_schema() const { return result_schema_(); }
  /// True if the handler is that function, or that member function: `function` points to one of the type that `tag`,
  /// the address of its function_tag, stands for.
  virtual bool is_function(const void*, const void*) const { return false; }

  void set_public(bool value) noexcept { is_public_ = value; }
  /// One of the library's own: cannot be replaced. `post_only` ones change the state of the service.
  void set_builtin(bool post_only) noexcept {
    is_builtin_ = true;
    post_only_ = post_only;
  }
  /// The handler reads Request::arguments() itself; nothing is bound, nothing is unknown.
  void set_takes_anything() noexcept { takes_anything_ = true; }
  void set_read_only() noexcept { is_read_only_ = true; }

  /// Binds a body in MessagePack without making a tree of it. False, with nothing of use in `slots`, if it is anything
  /// else than a map of plain values that fit the parameters in number and name, or if the handler may ask for the
  /// tree: decode it then. The bytes have to stay until the handler has its arguments.
  bool bind_scalars(std::vector<Slot>& slots, std::string_view body) const;

  /// Adds the arguments in the query of a target to those of the request, as a command line would have them: text,
  /// which the parameters' types convert. A name may come again for a list only, and do without a value for a bool
  /// only. Does nothing if the handler takes the request and nothing else: it reads Request::query(). Throws
  /// InvalidArgument.
  void add_query(std::string_view query, Request& request) const;
  /// Makes a body of bytes the argument for the one parameter of bytes, or else of text, that has none yet. Throws
  /// InvalidArgument if there are none or several.
  void add_bytes(std::string_view body, Request& request) const;

  /// Binds the request's arguments, unless that has been done, and runs the handler. Throws InvalidArgument, and
  /// whatever a plain handler throws.
  void invoke(Call& call) const;

  /// For the programmer, at registration: throws std::invalid_argument if names clash, or a default, choice or bound
  /// does not fit.
  void validate();

 protected:
  virtual void run(Call& call) const = 0;
  /// Converts each default that is there; throws BadValue with `current` at the one that does not fit its parameter.
  virtual void check_defaults(const std::vector<const json*>& defaults, std::size_t& current) const = 0;
  /// The next one, as callers see it.
  void add_parameter(const Arg& parameter, std::string type = {}, bool takes_descriptors = false,
                     const TypeInfo& info = type_info<json>);
  /// Takes the marks, and adds the parameters, whose types follow one by one.
  void add_words(std::span<const MethodWord> words);
  void set_type(std::size_t parameter, std::string type, bool takes_descriptors, const TypeInfo& info);
  void describe_as(std::string returns, bool streams = false, bool takes_request = false,
                   bool gives_descriptors = false, json (*make_schema)() = &schema_for<json>);

 private:
  void bind(Call& call) const;
  void settle_facts(Parameter& parameter);
  void check_limits(Call& call) const;
  void add_query_argument(const std::string& name, std::string_view text, bool has_value, const Request& request,
                          json& found) const;
  [[noreturn]] void refuse_name(const std::string& name, const Request& request) const;
  void claim_descriptors(Call& call) const;
  std::string describe(const BadValue& bad, const Parameter& parameter, bool repeat) const;
  std::size_t index_of(std::string_view parameter) const;

  std::string name_;
  std::string doc_;
  std::vector<Parameter> parameters_;
  std::string returns_;
  bool streams_ = false;
  bool is_public_ = false;
  bool is_builtin_ = false;
  bool post_only_ = false;
  bool takes_anything_ = false;
  bool takes_request_ = false;
  bool gives_descriptors_ = false;
  bool is_read_only_ = false;
  bool is_hidden_ = false;
  bool has_limits_ = false;  ///< there is a parameter with choices or bounds
  json (*result_schema_)() = &schema_for<json>;
};

template <class F, class Types>
class Handler;

/// The few lines that know a handler's types. A copy of the callable is kept, so captures live as long as any call of
/// it.
template <class F, class... P>
class Handler<F, std::tuple<P...>> final : public Method {
  using Sig = Signature<F>;
  using Return = std::remove_cvref_t<typename Sig::Return>;
  using Value = typename Yielded<Return>::type;
  static constexpr bool takes_request = Sig::Parameters::takes_request;

 public:
  Handler(std::string name, F function, std::string doc, std::span<const MethodWord> words)
      : Method(std::move(name), std::move(doc)), function_(std::move(function)) {
    add_words(words);
    [[maybe_unused]] std::size_t i = 0;
    (set_type(i++, type_name<Stored<P>>(), holds_descriptors<Stored<P>>, type_info<Stored<P>>), ...);
    describe_as(type_name<Value>(), is_generator<Return>, takes_request, holds_descriptors<Value>, &schema_for<Value>);
  }
  bool is_function([[maybe_unused]] const void* tag, [[maybe_unused]] const void* function) const override {
    if constexpr (is_bound_member<F>) {
      using Function = decltype(function_.function);
      return tag == &function_tag<Function> && *static_cast<const Function*>(function) == function_.function;
    } else if constexpr (std::is_pointer_v<F>) {
      return tag == &function_tag<F> && *static_cast<const F*>(function) == function_;
    } else {
      return false;
    }
  }

 protected:
  void run(Call& call) const override { run_with(call, std::index_sequence_for<P...>{}); }
  void check_defaults(const std::vector<const json*>& defaults, std::size_t& current) const override {
    check_with(defaults, current, std::index_sequence_for<P...>{});
  }

 private:
  template <class T>
  static void check_default(const json* fallback, std::size_t i, std::size_t& current) {
    current = i;
    if (fallback == nullptr) return;
    if constexpr (holds_descriptors<T>) {
      DescriptorQueue none;
      static_cast<void>(take_value<T>(*fallback, none));
    } else {
      static_cast<void>(from_json<T>(*fallback));
    }
  }
  template <std::size_t... i>
  void check_with([[maybe_unused]] const std::vector<const json*>& defaults, [[maybe_unused]] std::size_t& current,
                  std::index_sequence<i...>) const {
    (check_default<Stored<P>>(defaults[i], i, current), ...);
  }

  template <std::size_t... i>
  void run_with(Call& call, std::index_sequence<i...>) const {
    std::tuple<Stored<P>...> values{call.take<Stored<P>>(i)...};
    auto go = [&]() -> decltype(auto) {
      if constexpr (takes_request) {
        return function_(call.request,
                         static_cast<std::conditional_t<std::is_lvalue_reference_v<P>, Stored<P>&, Stored<P>&&>>(
                             std::get<i>(values))...);
      } else {
        return function_(static_cast<std::conditional_t<std::is_lvalue_reference_v<P>, Stored<P>&, Stored<P>&&>>(
            std::get<i>(values))...);
      }
    };
    if constexpr (is_generator<Return>) {
      call.stream = std::make_unique<GeneratorStream<typename Return::value_type>>(go());
    } else if constexpr (is_task<Return>) {
      call.pending = finish_later(go(), &call);
    } else if constexpr (std::is_void_v<Return>) {
      go();
      call.finish(nullptr);
    } else {
      call.finish(go());
    }
  }

  // Calling must not change the handler for other calls, yet lambdas may be mutable.
  mutable F function_;
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
