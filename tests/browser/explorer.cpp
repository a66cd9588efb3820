// SPDX-License-Identifier: MIT
// explorer.cpp: a browser uses the explorer page: `browser_explorer STATE BROWSER [OPTION]...`
//
// STATE is an empty directory for the service. The browser is told what to do over a pipe, by the DevTools protocol
// (--remote-debugging-pipe): messages of JSON, each with a NUL behind it. One line for each check; the last line is
// `N passed, N failed`.
#include "kettlingar.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace kt = kettlingar;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;  // for anything, on a loaded machine

int passed = 0, failed = 0;

// `seen` is asked what there is instead, after the answer.
template <class Seen>
void check(const std::string& what, bool ok, Seen seen) {
  ++(ok ? passed : failed);
  std::cout << (ok ? "ok   " : "FAIL ") << what << (ok ? "" : ": " + seen()) << std::endl;
}
void check(const std::string& what, bool ok) {
  check(what, ok, [] { return std::string("it is not so"); });
}

// What a shell command says on standard output.
std::string said_by(const std::string& command) {
  FILE* const pipe = ::popen(command.c_str(), "r");
  std::string said;
  for (int c; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) said += static_cast<char>(c);
  if (pipe != nullptr) ::pclose(pipe);
  return said;
}

const std::string hostile =
    "<img src=x onerror=\"hacked = 1\"></script><script>hacked = 2</script><svg onload=hacked=3> "
    "<a href=\"javascript:hacked=4\">x</a> '\"`${hacked = 5}";

enum class Mood { calm, wild };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::calm, "calm"}, {Mood::wild, "wild"}})

struct Point {
  double x = 1.5;
  std::string name = "here";
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Point, x, name)

struct Kinds {
  std::string text;
  bool flag = false;
  Mood mood = Mood::calm;
  std::optional<int> maybe;
  std::vector<int> list;
  Point point;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Kinds, text, flag, mood, maybe, list, point)

// The service that is explored.
class Service : public kt::Kitten {
 public:
  explicit Service(const std::string& state) : Kitten("explored", "Kitty", "Explored. " + hostile) {
    settings().app_state_dir = settings().app_data_dir = state;
    settings().worker_log_level = static_cast<int>(kt::LogLevel::debug);
    log_to([this](kt::LogLevel, std::string_view line) { refused += line.find(" origin ") != line.npos; });
    option("pause_ms", pause_ms, "Milliseconds between items. " + hostile);
    secret_option("password", password, "A secret.");
    api(
        "add",
        [](std::int64_t a, std::uint64_t b) {
          return kt::json{{"a", a}, {"b", b}, {"one", 1.0}};
        },
        "Shows two numbers.", kt::arg("a").doc("The first."), kt::arg("b") = std::uint64_t{18446744073709551615u});
    api(
        "kinds",
        [](std::string text, bool flag, Mood mood, std::optional<int> maybe, std::vector<int> list, Point point) {
          return Kinds{text, flag, mood, maybe, list, point};
        },
        "Arguments of all kinds.", kt::arg("text") = "two\nlines", kt::arg("flag") = false,
        kt::arg("mood") = Mood::calm, kt::arg("maybe") = nullptr, kt::arg("list") = std::vector<int>{1, 2},
        kt::arg("point"));
    api(
        "hostile", [](std::string text) { return text + hostile; }, "A doc. " + hostile,
        kt::arg("text").doc(hostile).choices({"fine", hostile}) = "fine");
    api("hostile_stream", []() -> kt::Generator<std::string> { co_yield hostile; });
    api("fails", []() -> int { throw kt::NotFound("not here: " + hostile); });
    api(
        "size", [](kt::Bytes data) { return data.size(); }, "", kt::arg("data"));
    api(
        "cat", [](kt::File file) { return file.get() >= 0; }, "", kt::arg("file"));
    api("wave", &Service::wave, "Items without end.");
    api("many", &Service::many, "Items as fast as they are read.", kt::arg("count") = 10000);
    api("work", &Service::work, "Progress.");
    api("breaks", []() -> kt::Generator<int> {
      for (int i = 1; i < 3; ++i) co_yield i;
      throw std::runtime_error("broken");
    });
    api(
        "secret_one", [] { return 1; }, kt::hidden);
  }

  std::atomic<int> refused = 0, waves = 0;
  std::atomic<int> pause_ms = 2;
  std::string password = "never shown";

 private:
  kt::Generator<kt::json> wave() {
    ++waves;
    const std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> at_end(&waves, [](auto* n) { --*n; });
    for (int i = 0;; ++i) {
      kt::json item{{"height", std::sin(i / 20.0)}, {"inner", {{"square", i / 25 % 2}}}, {"name", "wave"}};
      co_yield item;
      co_await kt::sleep_for(std::chrono::milliseconds(pause_ms));
    }
  }
  kt::Generator<kt::json> many(int count) {
    for (int i = 0; i < count; ++i) {
      kt::json item{{"i", i}, {"height", i % 100}, {"text", "an item among many"}};
      co_yield item;
    }
  }
  kt::Generator<kt::json> work() {
    for (int i = 1; i < 4; ++i) {
      kt::json item{{"progress", i / 4.0}, {"message", "step " + std::to_string(i)}};
      co_yield item;
    }
    kt::json last{{"done", true}};
    co_yield last;
  }
};

// A browser with one page, which does as it is told.
class Browser {
 public:
  explicit Browser(std::vector<std::string> words) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    words.insert(words.end(), {"--remote-debugging-pipe", "about:blank"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    // Above the numbers that they get there, so that none is lost to the other.
    const kt::Fd reader(::fcntl(to[0], F_DUPFD_CLOEXEC, 16)), writer(::fcntl(from[1], F_DUPFD_CLOEXEC, 16));
    ::posix_spawn_file_actions_adddup2(&actions, reader.get(), 3);
    ::posix_spawn_file_actions_adddup2(&actions, writer.get(), 4);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = ::posix_spawnp(&group_, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("cannot start " + words.front());
    ::close(to[0]), ::close(from[1]);
    to_ = kt::Fd(to[1]), from_ = kt::Fd(from[0]);
    while (session_.is_null()) {
      const kt::json targets = tell("Target.getTargets");
      for (const kt::json& target : targets["targetInfos"]) {
        if (target["type"] != "page" || !session_.is_null()) continue;
        session_ = tell("Target.attachToTarget", {{"targetId", target["targetId"]}, {"flatten", true}})["sessionId"];
      }
    }
    tell("Page.enable");
  }
  ~Browser() {
    ::kill(-group_, SIGKILL);
    ::waitpid(group_, nullptr, 0);
  }

  kt::json tell(const std::string& method, const kt::json& parameters = kt::json::object()) {
    kt::json message{{"id", ++last_}, {"method", method}, {"params", parameters}};
    if (!session_.is_null()) message["sessionId"] = session_;
    const std::string bytes = message.dump() + '\0';
    if (::write(to_.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("the browser does not listen");
    for (;;) {
      const kt::json reply = next();
      if (reply.value("id", kt::json(0)) != last_) continue;
      if (reply.contains("error")) throw std::runtime_error(method + ": " + reply["error"].dump());
      return reply["result"];
    }
  }
  // The value of an expression of the page, or of what it promises.
  kt::json value(const std::string& expression) {
    const kt::json reply =
        tell("Runtime.evaluate", {{"expression", expression}, {"awaitPromise", true}, {"returnByValue", true}});
    if (reply.contains("exceptionDetails"))
      throw std::runtime_error(expression + ": " + reply["exceptionDetails"]["exception"].dump());
    return reply["result"].value("value", kt::json(nullptr));
  }
  std::string text(const std::string& expression) { return value("String(" + expression + ")").get<std::string>(); }
  // Waits until it is true.
  bool comes(const std::string& condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < end) {
      try {
        if (value("Boolean(" + condition + ")") == true) return true;
      } catch (const std::runtime_error&) {  // the page before this one
      }
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
  void go(const std::string& url) { tell("Page.navigate", {{"url", url}}); }

 private:
  kt::json next() {
    for (;;) {
      if (const std::size_t end = received_.find('\0'); end != std::string::npos) {
        const kt::json message = kt::json::parse(received_.substr(0, end));
        received_.erase(0, end + 1);
        return message;
      }
      pollfd entry{from_.get(), POLLIN, 0};
      char block[65536];
      const int ready = ::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(patience).count()));
      const ssize_t n = ready == 1 ? ::read(from_.get(), block, sizeof block) : 0;
      if (n <= 0) throw std::runtime_error("the browser says nothing");
      received_.append(block, static_cast<std::size_t>(n));
    }
  }

  pid_t group_ = 0;
  kt::Fd to_, from_;
  kt::json session_;
  int last_ = 0;
  std::string received_;
};

// What a person does with the page.
class Visitor {
 public:
  Visitor(Service& service, Browser& browser) : service_(service), browser_(browser) {}

  void press(const std::string& text, const std::string& within = "#methods") {
    browser_.value("[...document.querySelectorAll('" + within + " button')].find(b => b.textContent.startsWith('" +
                   text + "')).click()");
  }
  void choose(const std::string& method) { press(method, "#list"); }
  // Types into the field with that label, as keys do.
  void type(const std::string& label, const std::string& text) {
    browser_.value("(() => { const field = [...document.querySelectorAll('label')].find(l => l.textContent === " +
                   kt::json(label).dump() + ").control; field.focus(); field.select(); })()");
    browser_.tell("Input.insertText", {{"text", text}});
  }
  std::string state() { return browser_.text("document.querySelector('#methods form + div p')?.textContent"); }
  std::string result() { return browser_.text("document.querySelector('output pre')?.textContent"); }
  bool state_comes(const std::string& text) {
    return browser_.comes("document.querySelector('#methods form + div p')?.textContent.includes(" +
                          kt::json(text).dump() + ")");
  }

  // The answer to the line that the page shows for curl, which may not be here.
  std::string curl_says(const std::string& before) {
    const std::string line = browser_.text("document.querySelector('pre.text').textContent");
    const std::string said = said_by(before + "command -v curl >/dev/null && " + line + " --silent");
    const bool here = !said_by("command -v curl").empty();
    return kt::json::parse(here ? said : result(), nullptr, false).dump();
  }

  void arrive(const std::string& opener);
  void call();
  void fields();
  void withstand();
  void follow();
  void options();
  void look();
  void keep_token();

 private:
  std::string page() const { return service_.url() + "/explorer"; }

  Service& service_;
  Browser& browser_;
};

// From the file that `open` writes, which is another site for the browser.
void Visitor::arrive(const std::string& opener) {
  browser_.go("file://" + opener);
  check("the file of `open` leads to the page", browser_.comes("document.title === 'explored/Kitty'"),
        [&] { return browser_.text("location.href + document.body.innerText"); });
  check("the token has gone from the address", browser_.text("location.href") == page(),
        [&] { return browser_.text("location.href"); });
  const std::string history = browser_.tell("Page.getNavigationHistory")["entries"].dump();
  check("the token is in no address that the history shows", history.find("\"url\":\"" + page() + "#") == history.npos);
  check("methods that are hidden are not offered",
        browser_.value("!document.body.innerText.includes('secret_one')") == true);
}

void Visitor::call() {
  double best = 1e9;  // of some, for machines have other things to do
  for (int i = 0; i < 9 && best > 1000; ++i) {
    browser_.go("about:blank");
    browser_.comes("location.href === 'about:blank'");
    browser_.go(page() + "#" + service_.token());
    browser_.comes("document.title === 'explored/Kitty'");
    choose("add");
    type("a", "-9223372036854775808");
    press("Call");
    state_comes("200");
    best = std::min(best, browser_.value("performance.now()").get<double>());
  }
  check("the first call is answered within a second", best <= 1000, [&] { return std::to_string(best) + " ms"; });
  std::cout << "note: first call answered " << std::llround(best) << " ms after the page was asked for" << std::endl;
  check("numbers of 64 bits are shown digit for digit",
        result() == "{\n  \"a\": -9223372036854775808,\n  \"b\": 18446744073709551615,\n  \"one\": 1.0\n}",
        [&] { return result(); });
  const std::string lines =
      browser_.text("[...document.querySelectorAll('pre.text')].map(p => p.textContent).join('\\n')");
  check("the call is shown for curl and for the command line",
        lines.find("curl --json '{\"a\": -9223372036854775808}' \"$(cat ") == 0 &&
            lines.find("\nexplored add --a=-9223372036854775808") != lines.npos,
        [&] { return lines; });
  check("curl does the same", curl_says("") == kt::json::parse(result()).dump(), [&] { return curl_says(""); });
  type("a", "one");
  press("Call");
  check("what is no number is not sent",
        browser_.value("document.querySelector('#argument-0').validity.customError") == true);
  type("a", "9223372036854775808");
  press("Call");
  check("errors of the service are shown", state_comes("400: add: argument 'a'"), [&] { return state(); });
  choose("fails");
  press("Call");
  check("so are those of methods", state_comes("404: not here: <img"), [&] { return state(); });
}

void Visitor::fields() {
  choose("kinds");
  check(
      "each argument has a field of its kind",
      browser_.text("[...document.querySelectorAll('#methods form [id^=argument]:not(small)')].map(f => f.tagName)") ==
          "TEXTAREA,SELECT,SELECT,INPUT,TEXTAREA,TEXTAREA");
  press("Call");
  check("defaults are left to the service", state_comes("200"), [&] { return state(); });
  check("a struct is sent as it is shown",
        result().find("\"text\": \"two\\nlines\"") != std::string::npos &&
            result().find("\"name\": \"here\"") != std::string::npos,
        [&] { return result(); });
  type("maybe", "5");
  type("list", "[3, 4");
  press("Call");
  check("JSON is checked while it is typed",
        browser_.value("document.querySelector('#argument-4').validity.customError") == true);
  type("list", "[3]");
  browser_.value("document.querySelector('#argument-1').value = 'true'");
  browser_.value("document.querySelector('#argument-2').value = '\"wild\"'");
  press("Call");
  check("what was chosen is sent",
        state_comes("200") && browser_.comes("document.querySelector('output')?.innerText.includes('wild')"),
        [&] { return state() + result(); });
  check("all of it",
        result().find("\"maybe\": 5") != std::string::npos && result().find("\"flag\": true") != std::string::npos,
        [&] { return result(); });
  choose("help");
  press("Call");
  check("a text of several lines is shown in lines",
        state_comes("200") && result().find("Explored. ") == 0 && result().find("\n  start ") != std::string::npos,
        [&] { return state() + result(); });
  choose("size");
  browser_.value(
      "(() => { const files = new DataTransfer(); files.items.add(new File([new Uint8Array([0, 255, 13])], 'x.bin'));"
      " document.querySelector('#argument-0').files = files.files; document.querySelector('#argument-0').oninput(); "
      "})()");
  press("Call");
  check("files are sent as bytes", state_comes("200") && result() == "3", [&] { return state() + result(); });
  std::ofstream(service_.settings().app_state_dir + "/x.bin") << std::string("\0\xff\r", 3);
  check("and by curl", curl_says("cd " + service_.settings().app_state_dir + " && ") == "3",
        [&] { return curl_says(""); });
  choose("cat");
  check("what needs an open file cannot be called, and says how",
        browser_.value("[...document.querySelectorAll('#methods form button')][0].disabled") == true &&
            browser_.text("document.querySelector('#methods form').innerText").find("explored cat FILE") !=
                std::string::npos);
}

void Visitor::withstand() {
  browser_.value("window.hacked = 0");
  choose("hostile");
  press("Call");
  check("a hostile result is text", browser_.comes("document.querySelector('output')?.innerText.includes('onerror')"));
  choose("hostile_stream");
  press("Call");
  check("so is a hostile item", browser_.comes("document.querySelector('output')?.innerText.includes('onerror')"));
  check("nothing hostile became an element",
        browser_.value("document.querySelectorAll('script').length === 1 && !document.querySelector('img, svg, "
                       "a[href^=javascript]')") == true);
  check("the words are shown as they are", browser_.value("document.querySelector('#about').textContent.endsWith(" +
                                                          kt::json(hostile).dump() + ")") == true);
  browser_.value(
      "document.body.insertAdjacentHTML('beforeend', '<img id=bait src=x onerror=\"hacked = 6\"><a id=link "
      "href=\"javascript:hacked=7\">x</a>')");
  browser_.value("document.getElementById('link').click()");
  browser_.value(
      "(() => { const script = document.createElement('script'); script.textContent = 'hacked = 8'; "
      "document.body.append(script); })()");
  browser_.value("new Promise(resolve => setTimeout(resolve, 300))");
  check("even markup would not run", browser_.value("window.hacked") == 0,
        [&] { return browser_.text("window.hacked"); });
  check("the page can ask nobody else", browser_.value("fetch('http://localhost:1/').then(() => false, () => new "
                                                       "Promise(resolve => setTimeout(resolve, 100, true)))") == true);
}

void Visitor::follow() {
  const std::string pixels =
      "(() => { const plot = document.querySelector('canvas'); const {data} = "
      "plot.getContext('2d').getImageData(0, 0, plot.width, plot.height); let n = 0; "
      "for (let i = 3; i < data.length; i += 4) n += data[i] > 128; return n; })()";
  choose("wave");
  press("Call");
  check("items of a stream are shown as they come",
        browser_.comes("document.querySelector('output pre')?.textContent.split('\\n').length > 50"),
        [&] { return state(); });
  check("the service sees one reader", service_.waves == 1);
  check("their numbers are plotted", browser_.comes(pixels + " > 500"), [&] { return browser_.text(pixels); });
  check("each number has its line, with what it was at least, at most, and last",
        browser_.value("/height -?[\\d.e-]+, from -0[.]99\\d* to 0[.]99\\d*.*inner.square [01], from 0 to "
                       "1/s.test(document.querySelector('output ul').innerText)") == true,
        [&] { return browser_.text("document.querySelector('output ul').innerText"); });
  const int before = browser_.value(pixels).get<int>();
  browser_.value("document.querySelectorAll('output ul input')[1].click()");
  check("another one can be added to the plot", browser_.comes(pixels + " > " + std::to_string(before + 100)));
  press("Stop");
  check("it can be stopped", state_comes("stopped"), [&] { return state(); });
  const auto end = std::chrono::steady_clock::now() + patience;
  while (service_.waves != 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
  check("which ends the generator", service_.waves == 0);

  choose("breaks");
  press("Call");
  check("a stream that breaks off is incomplete", state_comes("incomplete"), [&] { return state(); });
  choose("work");
  press("Call");
  check("progress is a bar and no item",
        state_comes("1 items, complete") && browser_.value("document.querySelector('progress').value") == 0.75 &&
            browser_.value("document.querySelector('output').innerText.includes('step 3')") == true,
        [&] { return state(); });

  double longest = 1e9;
  for (int i = 0; i < 9 && longest > 100; ++i) {
    choose("many");
    browser_.value(
        "window.longest = 0; window.watcher?.disconnect(); window.watcher = new PerformanceObserver(list => { for "
        "(const one of "
        "list.getEntries()) longest = Math.max(longest, one.duration); }); watcher.observe({type: 'longtask'})");
    press("Call");
    state_comes("10000 items, complete");
    browser_.value("new Promise(resolve => setTimeout(resolve, 500))");
    longest = std::min(longest, browser_.value("longest").get<double>());
  }
  check("10,000 items come to their end", state() == "10000 items, complete", [&] { return state(); });
  check("and no task of the page takes longer than 100 ms", longest <= 100, [&] { return std::to_string(longest); });
  check("the last 1000 stay",
        browser_.comes("document.querySelector('output pre').textContent.split('\\n').length === 1000"));
  check("they are plotted", browser_.comes(pixels + " > 500"));
}

void Visitor::options() {
  browser_.value("document.getElementById('see-options').click()");
  type("pause_ms", "7");
  press("Set", "#options form:not([hidden])");
  const std::string said = "document.querySelector('#options [role=status]').textContent";
  check("an option can be changed", browser_.comes(said + ".includes('pause_ms')") && service_.pause_ms == 7,
        [&] { return browser_.text(said); });
  type("pause_ms", "soon");
  press("Set", "#options form:not([hidden])");
  check("what does not fit is refused in words",
        browser_.comes(said + ".startsWith('400: ')") && service_.pause_ms == 7, [&] { return browser_.text(said); });
  press("Reset", "#options form:not([hidden])");
  check("it can be reset", browser_.comes(said + ".includes('has been changed')") && service_.pause_ms == 2);
  check("secrets are not shown", browser_.value("!document.body.innerHTML.includes('never shown')") == true);
}

// With keys and with a screen reader, in the dark, and on a small screen.
void Visitor::look() {
  check("each field has a label, and each button words",
        browser_.value("[...document.querySelectorAll('input, select, textarea')].every(f => f.labels.length === 1) && "
                       "[...document.querySelectorAll('button')].every(b => b.textContent || b.ariaLabel)") == true);
  browser_.tell("Emulation.setDeviceMetricsOverride",
                {{"width", 320}, {"height", 640}, {"deviceScaleFactor", 1}, {"mobile", false}});
  bool fits = true;
  for (const char* tab : {"options", "methods"}) {
    browser_.value("document.getElementById('see-" + std::string(tab) + "').click()");
    fits = fits && browser_.value("document.documentElement.scrollWidth <= 320") == true;
  }
  for (const char* method : {"kinds", "hostile", "many"}) {
    choose(method);
    fits = fits && browser_.value("document.documentElement.scrollWidth <= 320") == true;
  }
  check("it fits on a screen of 320 pixels", fits,
        [&] { return browser_.text("document.documentElement.scrollWidth"); });
  browser_.tell("Emulation.clearDeviceMetricsOverride");
  const std::string colour = "getComputedStyle(document.documentElement).backgroundColor";
  browser_.tell("Emulation.setEmulatedMedia", {{"features", {{{"name", "prefers-color-scheme"}, {"value", "light"}}}}});
  const std::string light = browser_.text(colour);
  browser_.tell("Emulation.setEmulatedMedia", {{"features", {{{"name", "prefers-color-scheme"}, {"value", "dark"}}}}});
  check("it is dark where the system is", light == "rgb(255, 255, 255)" && browser_.text(colour) != light,
        [&] { return browser_.text(colour); });
  choose("add");
  check("the heading of the chosen method gets the focus",
        browser_.text("document.activeElement.textContent") == "add");
}

void Visitor::keep_token() {
  browser_.tell("Page.reload");
  check("after a reload the token is still there",
        browser_.comes("document.title === 'explored/Kitty' && shown?.name === 'add'"));
  browser_.value("sessionStorage.clear(), location.reload()");
  check("without a token the page asks for it",
        browser_.comes("!document.getElementById('entry').hidden && document.getElementById('main').hidden"));
  type("Token", "wrong-wrong-wrong-wrong");
  press("Open", "#entry");
  check("a wrong one is refused",
        browser_.comes("document.getElementById('trouble').textContent.includes('Access Denied')"));
  type("Token", " " + service_.url() + "/" + service_.token() + "\n");
  press("Open", "#entry");
  check("what the url file says can be pasted",
        browser_.comes("document.title === 'explored/Kitty' && !document.getElementById('main').hidden"));
  browser_.go(service_.url() + "/" + service_.token());
  check("an address with the token leads to the page, and loses the token",
        browser_.comes("document.title === 'explored/Kitty'") && browser_.text("location.href") == page());
}

// Pages of others can neither read the page nor have it in theirs.
void meet_strangers(Service& service, Browser& browser, const std::string& state) {
  kt::Kitten stranger("stranger", "Kitty", "Another site");
  stranger.settings().app_state_dir = state + "/stranger";
  stranger.public_api("web_root", [] { return kt::html("<!doctype html><title>stranger</title><body>"); });
  stranger.start_thread();
  const std::string page = service.url() + "/explorer";
  for (const std::string& host :
       {stranger.url(), "http://localhost" + stranger.url().substr(stranger.url().rfind(':'))}) {
    browser.go(host + "/");
    browser.comes("document.title === 'stranger'");
    const int before = service.refused;
    const auto refused = [&](int count) {
      const auto end = std::chrono::steady_clock::now() + 10s;
      while (service.refused < before + count && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(5ms);
      return service.refused >= before + count;
    };
    check("a page of " + host + " cannot fetch it",
          browser.value("fetch('" + page + "').then(() => 'read', () => 'refused')") == "refused" && refused(1));
    browser.value("fetch('" + page + "', {mode: 'no-cors'}).catch(() => 0)");
    check("nor blindly", refused(2));
    for (const char* tag : {"img", "script", "iframe"}) {
      browser.value("(() => { const e = document.createElement('" + std::string(tag) + "'); e.src = '" + page +
                    "'; document.body.append(e); })()");
    }
    check("nor have it as an image, a script or a frame", refused(5),
          [&] { return std::to_string(service.refused - before); });
    browser.value("location.href = '" + page + "', 0");
    check("but it can lead there", browser.comes("document.getElementById('entry')"));
    browser.go(host + "/");
    browser.comes("document.title === 'stranger'");
    browser.value("location.href = '" + service.url() + "/ping', 0");
    check("and nowhere else", refused(6));
  }
  stranger.stop();
}

std::string opened_by_command(const std::string& state) {
  std::ofstream(state + "/xdg-open") << "#!/bin/sh\nexit 0\n";
  ::chmod((state + "/xdg-open").c_str(), 0700);
  ::setenv("PATH", (state + ":" + std::getenv("PATH")).c_str(), 1);
  kt::Kitten command("explored", "Kitty");
  std::string words[] = {"explored", "--app-state-dir=" + state, "open"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  if (command.main(3, argv) != 0) throw std::runtime_error("open has failed");
  return state + "/Kitty.open.html";
}

int explore(const std::string& state, const std::vector<std::string>& words) {
  Service service(state);
  service.start_thread();
  Browser browser(words);
  Visitor visitor(service, browser);
  visitor.arrive(opened_by_command(state));
  visitor.call();
  visitor.fields();
  visitor.follow();
  visitor.options();
  visitor.look();
  visitor.keep_token();
  visitor.withstand();
  meet_strangers(service, browser, state);
  std::cout << passed << " passed, " << failed << " failed" << std::endl;
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: browser_explorer STATE BROWSER [OPTION]...\n";
    return 2;
  }
  try {
    return explore(argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
