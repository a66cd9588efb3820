// A little of everything that programs use, compiled after whatever the files here do before it.
#ifndef HYGIENE_USE_HPP
#define HYGIENE_USE_HPP

namespace hygiene {

namespace kt = kettlingar;

class Cat : public kt::Kitten {
 public:
  explicit Cat(const std::string& name) : Kitten("hygiene", name, "A cat.") {
    api("purr", &Cat::purr, "Purrs.", kt::arg("times") = 3);
    api("nap", &Cat::nap);
    api("meow", &Cat::meow, kt::arg("sound"));
    api("read", &Cat::read, kt::arg("file"), kt::arg("peer") = nullptr);
    api("fps", fps_);
    public_api("web_root", [](kt::Request& request) { return kt::text(std::string(request.path())); });
    public_fallback([] { throw kt::NotFound(); });
    option("lives", lives_, "How many.", [] {});
    on_start([] {});
    on_shutdown([]() -> kt::Task<> { co_await kt::sleep_for(std::chrono::milliseconds(1)); });
    authenticator([](const kt::Request& request) { return request.authenticated(); });
    router([](const kt::Request&) -> std::optional<kt::RouteTo> { return std::nullopt; });
    log_to([](kt::LogLevel level, std::string_view) { return level == kt::LogLevel::error; });
    run_handlers_on([](std::function<void()> work) { work(); });
    settings().worker_listen_port = 0;
    limits().depth = 32;
  }

 private:
  std::vector<std::string> purr(int times) { return std::vector<std::string>(static_cast<std::size_t>(times), "purr"); }
  kt::Task<int> nap() {
    co_await kt::sleep_for(std::chrono::milliseconds(1));
    co_return lives_;
  }
  kt::Generator<std::string> meow(std::string sound) {
    co_yield sound;
    co_await kt::sleep_for(std::chrono::milliseconds(1));
  }
  kt::Task<std::string> read(kt::File file, std::optional<kt::Socket> peer) {
    if (peer) co_await kt::async_write_all(*peer, "read\n");
    co_return co_await kt::async_read_all(file);
  }

  kt::Topic<double> fps_{8, kt::Overflow::latest_only};
  int lives_ = 9;
};

inline kt::Task<int> ask(kt::Client client) {
  auto items = client.async_stream<std::string>("meow", "mew");
  while (auto item = co_await items.next()) {
  }
  co_return co_await client.async_call<int>("nap");
}

/// Serves and calls; not meant to be run where only syntax is looked at.
inline std::string use(const std::string& name) {
  Cat cat(name);
  std::string sounds;
  for (const std::string& sound : cat.loopback().stream<std::string>("meow", "miau")) sounds += sound;
  try {
    const kt::Client client = kt::Client::connect("hygiene-nobody", name);
    sounds += client.call<std::string>("web_root");
  } catch (const kt::NotRunning& error) {
    sounds += error.what();
  } catch (const kt::Error& error) {
    sounds += error.what();
  }
  return sounds;
}

}  // namespace hygiene

#endif
