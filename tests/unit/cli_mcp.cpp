// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// `PROGRAM mcp` on the other end of two pipes, as an agent has it.
class Agent {
 public:
  explicit Agent(const std::string& command) {
    Pipe input, output;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input.reader.get(), 0);
    ::posix_spawn_file_actions_adddup2(&actions, output.writer.get(), 1);
    std::string script = "exec " + command;
    char* argv[] = {const_cast<char*>("sh"), const_cast<char*>("-c"), script.data(), nullptr};
    REQUIRE(::posix_spawn(&child_, "/bin/sh", &actions, nullptr, argv, environ) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    to_ = std::move(input.writer);
    from_ = std::move(output.reader);
  }
  ~Agent() {
    if (child_ > 0) ends();
  }

  void say(std::string_view bytes) { REQUIRE(kt::detail::write_all(to_.get(), bytes)); }
  // A request of the kind that begins with a handshake.
  void ask(const json& id, const std::string& method, const json& params = json::object()) {
    json message;
    message["jsonrpc"] = "2.0";
    message["id"] = id;
    message["method"] = method;
    message["params"] = params;
    say(message.dump() + "\n");
  }
  void call(const json& id, const std::string& tool, const json& arguments = json::object(),
            const json& token = nullptr) {
    json params;
    params["name"] = tool;
    params["arguments"] = arguments;
    if (!token.is_null()) params["_meta"]["progressToken"] = token;
    ask(id, "tools/call", params);
  }
  // The next line; null at the end.
  json hear() {
    while (from_) {
      if (const std::size_t end = heard_.find('\n'); end != std::string::npos) {
        const json message = json::parse(heard_.substr(0, end));
        heard_.erase(0, end + 1);
        CHECK(message["jsonrpc"] == "2.0");
        return message;
      }
      pollfd entry{from_.get(), POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) != 1) {
        FAIL("nothing was said in time");
        return nullptr;
      }
      char block[65536];
      const ssize_t n = ::read(from_.get(), block, sizeof block);
      if (n <= 0) return nullptr;
      heard_.append(block, static_cast<std::size_t>(n));
    }
    return nullptr;
  }
  // Of a call, without what else there is to hear.
  json result() { return hear()["result"]; }
  std::string text() { return result()["content"][0]["text"].get<std::string>(); }
  int code() { return hear()["error"]["code"].get<int>(); }
  // The exit code, once nothing more comes in.
  int ends() {
    to_.reset();
    while (!hear().is_null()) {
    }
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void stop_listening() { from_.reset(); }

 private:
  pid_t child_ = 0;
  kt::Fd to_, from_;
  std::string heard_;
};

// A service of ours with an agent in front of it, which is a program of its own.
struct Served {
  Served() : program("kitten") {
    kt::Kitten& kitten = home.kitten;
    kitten.api("add", add, "Adds two numbers.", kt::read_only, kt::arg("a").doc("the first"), kt::arg("b") = 1);
    kitten.api(
        "item", [](Item item) { return item; }, "Gives it back.", kt::arg("item"));
    kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    kitten.api(
        "bytes", [](kt::Bytes raw) { return raw.size(); }, "", kt::arg("raw"));
    kitten.api(
        "hidden", [] { return 1; }, kt::hidden);
    kitten.api(
        "file", [](kt::File) { return 1; }, "", kt::arg("file"));
    kitten.api("page", [] { return kt::text("some text\n"); });
    kitten.api("sound", [] { return kt::Result("audio/wav", "RIFF"); });
    kitten.api("archive", [] { return kt::Result("application/zip", "PK"); });
    kitten.api(
        "who",
        [](std::string name) {
          if (name.empty()) throw kt::NeedInfo("Who is it?", {{"name", "str", "of the user", nullptr}});
          return name;
        },
        "", kt::arg("name") = "");
    kitten.api("broken", []() -> int { throw std::runtime_error("the disk is full"); });
    kitten.api(
        "count",
        [](int to, int size) -> kt::Generator<std::string> {
          const std::string item(static_cast<std::size_t>(size), 'x');
          for (int i = 0; i < to; ++i) co_yield item;
        },
        "", kt::arg("to"), kt::arg("size") = 1);
    kitten.api("load", []() -> kt::Generator<json> {
      for (const double part : {0.25, 0.5, 0.5, 1.0}) {
        json item;
        item["progress"] = part;
        co_yield item;
      }
    });
    kitten.api("breaks", []() -> kt::Generator<int> {
      co_yield 1;
      throw kt::InvalidArgument("no second one");
    });
    kitten.api("forever", [this]() -> kt::Generator<int> {
      const Counted here(&gone);
      began.happen();
      co_yield 1;
      co_await kt::sleep_for(1h);
    });
    kitten.api("hang", [this]() -> kt::Task<int> {
      const Counted here(&gone);
      began.happen();
      co_await kt::sleep_for(1h);
      co_return 1;
    });
    kitten.api("meet", [this]() -> kt::Task<int> {
      const int place = ++arrived;
      while (arrived < 20) co_await kt::sleep_for(1ms);
      co_return place;
    });
    home.start();
  }
  std::string command(const std::string& words = "mcp") const {
    return program.path() + " --app-name=testkitten --app-state-dir=" + home.state.path() + " " + words;
  }

  Happening began, gone;
  int arrived = 0;
  Program program;
  Home home;
};

json tool(const json& tools, const std::string& name) {
  for (const json& one : tools) {
    if (one["name"] == name) return one;
  }
  return nullptr;
}

// What each message of the other era says by itself.
json modern(const std::string& version = "2026-07-28") {
  json params;
  params["_meta"]["io.modelcontextprotocol/protocolVersion"] = version;
  params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json::object();
  return params;
}

}  // namespace

TEST_SUITE("cli/mcp") {
  TEST_CASE("a handshake agrees on a version that both know, or on the newest of that kind") {
    Served served;
    Agent agent(served.command());
    for (const char* known : {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}) {
      agent.ask(1, "initialize", {{"protocolVersion", known}});
      const json result = agent.result();
      CHECK(result["protocolVersion"] == known);
      CHECK(result["capabilities"]["tools"] == json::object());
      CHECK(result["serverInfo"]["name"] == "testkitten");
    }
    for (const json& other : {json("2026-07-28"), json("1999-01-01"), json(7), json(nullptr)}) {
      agent.ask(1, "initialize", {{"protocolVersion", other}});
      CHECK(agent.result()["protocolVersion"] == "2025-11-25");
    }
    agent.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
    agent.ask(2, "server/discover");
    CHECK(agent.code() == -32601);
    agent.ask(3, "ping");
    CHECK(agent.result() == json::object());
    CHECK(agent.ends() == 0);
  }

  TEST_CASE("without a handshake each message says its version") {
    Served served;
    Agent agent(served.command());
    agent.ask("probe", "server/discover", modern());
    json result = agent.result();
    CHECK(result["supportedVersions"] == json{"2026-07-28"});
    CHECK(result["resultType"] == "complete");
    CHECK(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "testkitten");
    agent.ask(1, "tools/list", modern());
    result = agent.result();
    CHECK(result["ttlMs"] == 0);
    CHECK(result["cacheScope"] == "private");
    CHECK(result["resultType"] == "complete");
    json params = modern();
    params["name"] = "add";
    params["arguments"] = {{"a", 2}};
    agent.ask(2, "tools/call", params);
    result = agent.result();
    CHECK(result["content"][0]["text"] == "3");
    CHECK(result["resultType"] == "complete");
    agent.ask(3, "initialize", modern());
    CHECK(agent.code() == -32601);
    agent.ask(4, "tools/list", modern("2030-01-01"));
    const json error = agent.hear()["error"];
    CHECK(error["code"] == -32022);
    CHECK(error["data"]["requested"] == "2030-01-01");
    CHECK(error["data"]["supported"][0] == "2026-07-28");
  }

  TEST_CASE("tools are the methods that an agent can use, with schemas that stand for themselves") {
    Served served;
    Agent agent(served.command());
    agent.ask(1, "tools/list");
    const json result = agent.result();
    const json& tools = result["tools"];
    CHECK_FALSE(result.contains("resultType"));
    for (const char* none : {"ping", "help", "config", "quitquitquit", "hidden", "file"}) {
      CAPTURE(none);
      CHECK(tool(tools, none) == nullptr);
    }
    const json adds = tool(tools, "add");
    CHECK(adds["description"] == "Adds two numbers.");
    CHECK(adds["annotations"]["readOnlyHint"] == true);
    CHECK(adds["annotations"]["openWorldHint"] == false);
    CHECK(adds["inputSchema"]["required"] == json{"a"});
    CHECK(adds["inputSchema"]["additionalProperties"] == false);
    CHECK(adds["inputSchema"]["properties"]["a"]["type"] == "integer");
    CHECK(adds["inputSchema"]["properties"]["a"]["description"] == "the first");
    CHECK(adds["inputSchema"]["properties"]["b"]["default"] == 1);
    CHECK_FALSE(tool(tools, "echo")["annotations"].contains("readOnlyHint"));
    const json gives = tool(tools, "item")["inputSchema"];
    CHECK(gives["properties"]["item"]["$ref"] == "#/$defs/Item");
    CHECK(gives["$defs"]["Item"]["properties"]["number"]["type"] == "integer");
  }

  TEST_CASE("methods that are named are the only tools") {
    Served served;
    Agent agent(served.command("mcp add page"));
    agent.ask(1, "tools/list");
    CHECK(agent.result()["tools"].size() == 2);
    agent.call(2, "page");
    CHECK(agent.text() == "some text\n");
    for (const char* other : {"echo", "ping", "hidden", "nothing"}) {
      agent.call(3, other);
      CHECK(agent.code() == -32602);
    }
    Program kitten("kitten");
    const Ran typo = kitten("mcp purrr");
    CHECK(typo.code != 0);
    CHECK(contains(typo.err, "no method 'purrr' (did you mean 'purr'?)"));
    CHECK(contains(kitten("mcp ping").err, "'ping' is built in"));
    CHECK(contains(kitten("mcp --all").err, "usage: mcp [<method>...]"));
    CHECK(kitten("mcp purr").code == 0);
  }

  TEST_CASE("results are text, structures, pictures, sounds and files") {
    Served served;
    Agent agent(served.command());
    agent.call(1, "item", {{"item", {{"text", "t"}, {"number", 7}}}});
    json result = agent.result();
    CHECK(result["structuredContent"] == json({{"number", 7}, {"text", "t"}}));
    CHECK(json::parse(result["content"][0]["text"].get<std::string>()) == result["structuredContent"]);
    CHECK(result["isError"] == false);
    agent.call(2, "sound");
    result = agent.result()["content"][0];
    CHECK(result["type"] == "audio");
    CHECK(result["data"] == "UklGRg==");
    agent.call(3, "archive");
    result = agent.result()["content"][0];
    CHECK(result["type"] == "resource");
    CHECK(result["resource"]["blob"] == "UEs=");
    CHECK(result["resource"]["mimeType"] == "application/zip");
    agent.call(4, "bytes", {{"raw", {{"__base64__", "AAEC"}}}});
    CHECK(agent.text() == "3");
    // All digits.
    agent.say(
        "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/"
        "call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"value\":"
        "[18446744073709551615,123456789012345678901234567890,1.0]}}}\n");
    CHECK(agent.text() == "[18446744073709551615,123456789012345678901234567890,1.0]");
  }

  TEST_CASE("what goes wrong in a call is a sentence for the model, and no error of the protocol") {
    Served served;
    Agent agent(served.command());
    const auto sentence = [&](const std::string& name, const json& arguments = json::object()) {
      agent.call(1, name, arguments);
      const json result = agent.result();
      CHECK(result["isError"] == true);
      return result["content"][0]["text"].get<std::string>();
    };
    CHECK(contains(sentence("add", {{"a", "many"}}), "'a'"));
    CHECK(contains(sentence("add"), "'a'"));
    CHECK(contains(sentence("add", {{"a", 1}, {"c", 1}}), "'c'"));
    CHECK(contains(sentence("bytes", {{"raw", {{"__base64__", "!"}}}}), "base64"));
    CHECK(sentence("broken") == "the disk is full");
    CHECK(sentence("who") == "Who is it?\nCall again with 'name' (str): of the user");
    CHECK(contains(sentence("add", {{"_args", {1, 2}}}), "given by name"));
    agent.call(2, "addd");
    const json error = agent.hear()["error"];
    CHECK(error["code"] == -32602);
    CHECK(error["message"] == "no tool 'addd' (did you mean 'add'?)");
    for (const json& params : {json(), json{{"name", 1}}, json{{"name", "add"}, {"arguments", 1}}}) {
      agent.ask(3, "tools/call", params.is_null() ? json::object() : params);
      CHECK(agent.code() == -32602);
    }
  }

  TEST_CASE("a stream is progress and a result that ends") {
    Served served;
    Agent agent(served.command());
    agent.call(1, "count", {{"to", 2}}, "token");
    for (const int number : {1, 2}) {
      const json told = agent.hear();
      CHECK(told["method"] == "notifications/progress");
      CHECK(told["params"] == json({{"progressToken", "token"}, {"progress", number}, {"message", "\"x\""}}));
    }
    CHECK(agent.text() == "\"x\"\n\"x\"");
    // The item's own word for it, as long as that grows.
    agent.call(2, "load", json::object(), 7);
    for (const double part : {0.25, 0.5, 1.0}) {
      const json told = agent.hear()["params"];
      CHECK(told["progressToken"] == 7);
      CHECK(told["progress"] == part);
      CHECK(told["total"] == 1);
    }
    CHECK(agent.hear()["id"] == 2);
    agent.call(3, "count", {{"to", 0}});
    CHECK(agent.text() == "(no items)");
    agent.call(4, "count", {{"to", 200}});
    CHECK(agent.text().size() == 200 * 4 - 1);
    agent.call(5, "count", {{"to", 2000000000}});
    std::string text = agent.text();
    CHECK(text.ends_with("\n(cut here, after 200 items: more than 200 items)"));
    agent.call(6, "count", {{"to", 100}, {"size", 1000}});
    text = agent.text();
    CHECK(text.ends_with("\n(cut here, after 65 items: more than 64 KiB)"));
    CHECK(text.size() < 66 * 1024);
    agent.call(7, "count", {{"to", 1}, {"size", 100000}});
    text = agent.text();
    CHECK(text.ends_with("...\n(cut here, after 0 items: more than 64 KiB)"));
    CHECK(text.size() < 66 * 1024);
    agent.call(8, "breaks");
    const json result = agent.result();
    CHECK(result["isError"] == true);
    CHECK(result["content"][0]["text"] == "1\n(cut here, after 1 item: no second one)");
  }

  TEST_CASE("a stream that falls silent is a sample after a while") {
    Served served;
    Agent agent(served.command());
    agent.call(1, "forever");
    const json result = agent.result();
    CHECK(result["isError"] == false);
    CHECK(result["content"][0]["text"] == "1\n(cut here, after 1 item: no more than 20 s are waited for)");
    CHECK(served.gone.happened());
  }

  TEST_CASE("a call that is cancelled ends in the service, and is not answered") {
    Served served;
    Agent agent(served.command());
    int times = 0;
    for (const json& id : {json("one"), json(1), json(2.5), json(-3)}) {
      for (const char* name : {"hang", "forever"}) {
        agent.call(id, name);
        ++times;
        REQUIRE(served.began.happened(times));
        agent.say(
            json{{"jsonrpc", "2.0"}, {"method", "notifications/cancelled"}, {"params", {{"requestId", id}}}}.dump() +
            "\n");
        CHECK(served.gone.happened(times));
      }
    }
    agent.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"unknown\"}}\n");
    agent.ask("last", "ping");
    CHECK(agent.hear()["id"] == "last");
  }

  TEST_CASE("twenty calls run side by side") {
    Served served;
    Agent agent(served.command());
    for (int i = 0; i < 20; ++i) agent.call(i, "meet");
    std::set<int> ids;
    for (int i = 0; i < 20; ++i) {
      const json message = agent.hear();
      CHECK(message["result"]["isError"] == false);
      ids.insert(message["id"].get<int>());
    }
    CHECK(ids.size() == 20);
    for (int round = 0; round < 20; ++round) {
      for (int i = 0; i < 20; ++i) agent.call(i, "add", {{"a", i}});
      for (int i = 0; i < 20; ++i) {
        const json message = agent.hear();
        CHECK(message["result"]["content"][0]["text"] == std::to_string(message["id"].get<int>() + 1));
      }
    }
    for (int i = 0; i < 101; ++i) agent.call(i, "hang");
    const json refused = agent.hear();
    CHECK(refused["id"] == 100);
    CHECK(refused["error"]["message"] == "100 requests are running: wait for some of them");
  }

  TEST_CASE("bad lines are answered, and the next one is served as if nothing had been") {
    Served served;
    Agent agent(served.command());
    const auto answer = [&](const std::string& line) {
      agent.say(line + "\n");
      const json message = agent.hear();
      agent.ask("next", "ping");
      CHECK(agent.hear()["id"] == "next");
      return message;
    };
    for (const std::string line : {"nonsense", "{", "{\"id\":1", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}",
                                   "\xff", "\"\\ud800\"", "\xEF\xBB\xBF{}"}) {
      CAPTURE(line);
      const json message = answer(line);
      CHECK(message["id"] == nullptr);
      CHECK(message["error"]["code"] == -32700);
    }
    CHECK(answer(std::string(100000, '['))["error"]["code"] == -32700);
    for (const char* line :
         {"[]", "1", "null", "\"text\"", "{}", "{\"jsonrpc\":\"2.0\",\"id\":1}", "{\"id\":1,\"method\":\"ping\"}",
          "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":2}"}) {
      CAPTURE(line);
      CHECK(answer(line)["error"]["code"] == -32600);
    }
    for (const char* id : {"null", "true", "[]", "{}"}) {
      CAPTURE(id);
      const json message = answer(std::string("{\"jsonrpc\":\"2.0\",\"id\":") + id + ",\"method\":\"ping\"}");
      CHECK(message["id"] == nullptr);
      CHECK(message["error"]["code"] == -32600);
    }
    CHECK(answer("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\",\"params\":[]}")["error"]["code"] == -32602);
    CHECK(answer("{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"resources/list\"}")["error"]["code"] == -32601);
    // Nobody waits for an answer to these.
    agent.say("\n \r\n");
    agent.say(
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/unknown\"}\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    agent.say("{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":1}\n");
    agent.ask("last", "ping");
    CHECK(agent.hear()["id"] == "last");
    CHECK(agent.ends() == 0);
  }

  TEST_CASE("ids come back as they were") {
    Served served;
    Agent agent(served.command());
    for (const std::string id :
         {"0", "-7", "18446744073709551615", "1.5", "\"\"", "\"a \\\" \\\\ \\n\"", "\"\u00fc\""}) {
      CAPTURE(id);
      agent.say("{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"method\":\"ping\"}\n");
      CHECK(agent.hear()["id"] == json::parse(id));
    }
  }

  TEST_CASE("a line that is too long is skipped, and one in pieces is put together") {
    Served served;
    Agent agent(served.command());
    const std::string block(1 << 20, 'x');
    agent.say("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"");
    for (int i = 0; i < 64; ++i) agent.say(block);
    agent.say("\"}\n");
    const json error = agent.hear()["error"];
    CHECK(error["code"] == -32700);
    CHECK(contains(error["message"].get<std::string>(), "a line has more than"));
    // Who waits for the answer gets it, wherever the id is, outside of what looks like it.
    const std::string huge(4 << 20, 'x');
    agent.say("{\"jsonrpc\":\"2.0\",\"id\":\"a,b\",\"method\":\"" + huge + ",\\\"id\\\":3}\"}\n");
    CHECK(agent.hear()["id"] == "a,b");
    agent.say("{\"method\":\"tools/call\",\"params\":{\"id\":1,\"x\":\"" + huge +
              "\",\"id\":2},\"jsonrpc\":\"2.0\",\"id\":17}\n");
    CHECK(agent.hear()["id"] == 17);
    agent.say("{\"params\":{\"x\":\"" + huge + "\",\"id\":2},\"jsonrpc\":\"2.0\",\"method\":\"ping\"}\n");
    CHECK(agent.hear()["id"] == nullptr);
    for (const char byte : std::string("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\r\n")) agent.say({&byte, 1});
    CHECK(agent.hear()["id"] == 2);
    agent.call(3, "echo", {{"value", block.substr(0, 100000)}});
    CHECK(agent.text().size() == 100002);
  }

  TEST_CASE("it ends with its input, and with a half line in it, whatever still runs") {
    Served served;
    Agent agent(served.command());
    agent.call(1, "hang");
    REQUIRE(served.began.happened());
    agent.say("{\"jsonrpc\":\"2.0\",\"id\":2,");
    CHECK(agent.ends() == 0);
    CHECK(served.gone.happened());
    // What was asked before the end is answered; the last line may do without its end.
    const Ran ran = run(served.command(),
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":"
                        "\"add\",\"arguments\":{\"a\":41}}}");
    CHECK(ran.code == 0);
    CHECK(json::parse(ran.out)["result"]["content"][0]["text"] == "42");
    CHECK(run(served.command() + " </dev/null").code == 0);
  }

  TEST_CASE("it ends when nobody listens") {
    Served served;
    Agent agent(served.command());
    agent.call(1, "hang");
    REQUIRE(served.began.happened());
    agent.stop_listening();
    agent.ask(2, "ping");
    CHECK(served.gone.happened());  // although its input goes on
    CHECK(agent.ends() == 4);
  }

  TEST_CASE("the service is started when a tool is wanted, and again when it has gone") {
    Program kitten("kitten");
    Agent agent(kitten.path() + " --app-state-dir=" + kitten.state.path() + " --app-data-dir=" + kitten.state.path() +
                " mcp");
    agent.ask(1, "initialize", {{"protocolVersion", "2025-11-25"}});
    CHECK(contains(agent.result()["instructions"].get<std::string>(), "meow"));
    CHECK(kitten("status").code == 1);
    agent.ask(2, "tools/list");
    CHECK(tool(agent.result()["tools"], "purr") != nullptr);
    CHECK(kitten("status").code == 0);
    CHECK(kitten("restart").code == 0);
    agent.call(3, "meow");
    CHECK(agent.result()["isError"] == false);
    CHECK(kitten("stop").code == 0);
    agent.call(4, "meow");
    CHECK(agent.result()["isError"] == false);
    CHECK(agent.ends() == 0);
    CHECK(kitten("status").code == 0);
  }

  TEST_CASE("a service that has no describe tells its tools by ping, as Python ones do") {
    Scripted python([](Scripted::Talk& talk) {
      for (std::string request = talk.request(); !request.empty(); request = talk.request()) {
        if (contains(request, "/describe ")) {
          talk.say("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nNot Found");
        } else if (contains(request, "/ping ")) {
          talk.answer(
              "{\"pong\":true,\"methods\":{\"ping\":{},\"greet\":{\"args\":{\"name\":\"str\"},\"options\":{\"loud\":"
              "null},"
              "\"returns\":null,\"is_generator\":false,\"help\":\"Says hello.\"}}}");
        } else {
          talk.answer(contains(request, "\"name\":\"you\"") ? "\"hello you\"" : "\"who?\"");
        }
      }
    });
    Program kitten("kitten");
    Agent agent(kitten.path() + " --app-name=python --worker-name=worker --app-state-dir=" + python.dir.path() +
                " mcp");
    agent.ask(1, "tools/list");
    const json tools = agent.result()["tools"];
    REQUIRE(tools.size() == 1);
    CHECK(tools[0]["name"] == "greet");
    CHECK(tools[0]["description"] == "Says hello.");
    CHECK(tools[0]["inputSchema"]["properties"] == json({{"name", json::object()}, {"loud", json::object()}}));
    agent.call(2, "greet", {{"name", "you"}});
    CHECK(agent.text() == "\"hello you\"");
  }

  TEST_CASE("a service that cannot be reached is a sentence, not the end") {
    Served served;
    served.home.kitten.stop();
    Agent agent(served.command());
    agent.ask(1, "tools/list");
    const json error = agent.hear()["error"];
    CHECK(error["code"] == -32603);
    CHECK(contains(error["message"].get<std::string>(), "Not running"));
    agent.call(2, "add", {{"a", 1}});
    const json result = agent.result();
    CHECK(result["isError"] == true);
    CHECK(contains(result["content"][0]["text"].get<std::string>(), "Not running"));
    served.home.start();
    agent.call(3, "add", {{"a", 1}});
    CHECK(agent.text() == "2");
  }
}
