// kitten.cpp: the sample service, a class with methods of every kind.
#include "kettlingar.hpp"

#include <chrono>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>

namespace kt = kettlingar;

struct Purr {
  std::string purr;
  std::string _format;  // how the command line prints an item
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Purr, purr, _format)

// Methods can come from any object, not only from the service itself.
struct Gymnast {
  kt::Result stretch() { return kt::text("Streeeeeeeetch!\n"); }
};

class MyKitten : public kt::Kitten {
 public:
  MyKitten() : Kitten("mykitten", "Kitty", description) {
    option("sleep_time", sleep_time_, "Seconds between purrs");

    public_api("web_root", &MyKitten::web_root, "A placeholder at the root of the web server.");
    public_api("meow", &MyKitten::meow, "Meow, as text/plain. Needs no authentication!");
    public_api("slow_meow", &MyKitten::slow_meow, "Meow after a delay in seconds, or after a random one.",
               kt::arg("delay") = nullptr);
    public_api("blank", &MyKitten::blank, "A blank GIF image of 1x1 pixels.");
    api("purr", &MyKitten::purr, "Purr count times, louder each time.", kt::arg("count") = 1, kt::arg("purr") = "purr",
        kt::arg("caps") = false);
    api("both", &MyKitten::both, "Meow, then purr: a stream that takes items from another one.");
    api("mrow", &MyKitten::both, "The same as both.");
    api("freakout", &MyKitten::freakout, "Throws an exception.");
    api("stretch", gymnast_, &Gymnast::stretch, "Have a nice stretch.");
    api("binary_result", &MyKitten::binary_result, "Bytes inside a map.");
  }

 private:
  static constexpr const char* description =
      "mykitten - A sample kettlingar microservice\n\n"
      "This microservice knows how to meow and how to purr. Purring is\n"
      "private and requires authentication, and may go on for a while.";

  kt::Result web_root() { return kt::html("<html><body><h1>Hello Kitty World!</h1></body></html>"); }
  kt::Result meow() { return kt::text("Meow world, meow!\n"); }

  kt::Task<kt::Result> slow_meow(std::optional<double> delay) {
    if (delay && !(*delay >= 0 && *delay <= 3600)) throw kt::InvalidArgument("delay must be from 0 to 3600 seconds");
    if (!delay) delay = sleep_time_ * std::uniform_int_distribution(0, 75)(dice_) / 100.0;
    co_await pause(*delay);
    char text[64];
    std::snprintf(text, sizeof text, "Meow world, meow after %.2fs!\n", *delay);
    co_return kt::text(text);
  }

  kt::Result blank() {
    constexpr unsigned char gif[] = {71, 73, 70, 56, 57, 97, 1,  0, 1, 0, 128, 0, 0, 0, 0, 0, 255, 255, 255, 33, 249,
                                     4,  1,  0,  0,  0,  0,  44, 0, 0, 0, 0,   1, 0, 1, 0, 0, 2,   1,   68,  0,  59};
    return {"image/gif", std::string(std::begin(gif), std::end(gif))};
  }

  kt::Generator<Purr> purr(int count, std::string sound, bool caps) {
    if (caps) {
      for (char& c : sound) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    Purr item;
    item._format = settings().worker_name + " says %(purr)s";
    for (int i = 0; i < count; ++i) {
      item.purr += sound;
      co_yield item;
      co_await pause(sleep_time_);
    }
  }

  kt::Generator<kt::json> both() {
    co_yield kt::json(meow().data);
    kt::Generator<Purr> purrs = purr(2, "purr", false);
    while (auto item = co_await purrs.next()) co_yield kt::json(nlohmann::json(*item));
  }

  void freakout() { throw std::runtime_error("Nothing is good enough for me!"); }

  kt::json binary_result() {
    kt::json result;
    result["binary"] = kt::bytes("data");
    return result;
  }

  static kt::Task<> pause(double seconds) {
    if (!(seconds > 0 && seconds < 1e6)) seconds = 0;
    return kt::sleep_for(std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(seconds)));
  }

  double sleep_time_ = 1;
  Gymnast gymnast_;
  std::minstd_rand dice_{std::random_device{}()};
};

int main(int argc, char** argv) { return MyKitten().main(argc, argv); }
