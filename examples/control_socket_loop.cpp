// control_socket_loop.cpp: a simulation at 60 frames a second gets a control socket, served inside its own loop.
//
//   control_socket_loop [--frames=N] [--app-state-dir=DIR]   until Ctrl-C; in the end it prints how punctual it was
//   url=$(cat ~/.local/state/balls/sim.url)
//   curl -N $url/telemetry                                   every frame
//   curl -d key=gravity -d val=1.62 $url/config              on the moon
//   curl -d on=yes $url/pause; curl -d frames=5 $url/step
//   hello --app-name=balls --worker-name=sim telemetry       the command line of any service will do
//
// The control socket is the lines that end in "// +"; without them (grep -v '// +$') it is the program as it was.
#include "kettlingar.hpp"  // +

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace kt = kettlingar;  // +
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class World {
 public:
  double gravity = 9.81, bounce = 0.9;  // metres per second squared; part of the speed that is kept at the ground

  void pause(bool on) { paused_ = on; }
  void step(int frames) { steps_ += std::max(frames, 0); }

  void frame(double seconds) {
    if (paused_ && steps_ == 0) return;
    if (paused_) --steps_;
    ++frame_;
    const double fall = gravity * seconds, kept = bounce;
    double highest = 0, energy = 0;
    for (Ball& ball : balls_) {
      ball.speed -= fall;
      ball.height += ball.speed * seconds;
      if (ball.height < 0) ball = {0, -kept * ball.speed};
      highest = std::max(highest, ball.height);
      energy += ball.speed * ball.speed / 2;
    }
    highest_ = highest;
    energy_ = energy;
  }

  std::map<std::string, double> figures() const {
    return {{"frame", static_cast<double>(frame_)}, {"highest", highest_}, {"kinetic_energy", energy_}};
  }

 private:
  struct Ball {
    double height, speed;
  };
  std::vector<Ball> balls_ = std::vector<Ball>(100'000, {10, 0});
  double highest_ = 10, energy_ = 0;
  bool paused_ = false;
  int steps_ = 0;
  long frame_ = 0;
};

// What became of the frames: how late each began, and how long it kept the thread busy.
class Punctuality {
 public:
  void add(Clock::duration late, Clock::duration busy) {
    late_.push_back(std::chrono::duration<double, std::milli>(late).count());
    busy_.push_back(std::chrono::duration<double, std::milli>(busy).count());
  }
  void print() {
    if (late_.empty()) return;
    std::printf("%zu frames; late by %.3f ms (50 %%), %.3f ms (99.9 %%); busy for %.3f ms (50 %%), %.3f ms (99.9 %%)\n",
                late_.size(), percentile(late_, 0.5), percentile(late_, 0.999), percentile(busy_, 0.5),
                percentile(busy_, 0.999));
  }

 private:
  static double percentile(std::vector<double>& values, double part) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
  }
  std::vector<double> late_, busy_;
};

std::atomic<bool> quit = false;

// The value of `--name=value`, which is taken out of the words.
std::string take(std::vector<std::string>& words, const std::string& name) {
  std::string value;
  std::erase_if(words, [&](const std::string& word) {
    if (!word.starts_with("--" + name + "=")) return false;
    value = word.substr(name.size() + 3);
    return true;
  });
  return value;
}

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const long frames = std::atol(take(words, "frames").c_str());
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { quit = true; });
  World world;
  Punctuality punctuality;
  kt::Topic<std::map<std::string, double>> telemetry;                           // +
  kt::Kitten kitten("balls", "sim", "Balls that bounce, 60 frames a second.");  // +
  kitten.settings().app_state_dir = take(words, "app-state-dir");               // +
  if (!words.empty()) {
    std::cerr << "Unknown: " << words.front() << std::endl;
    return 2;
  }
  kitten.option("gravity", world.gravity, "Metres per second squared").option("bounce", world.bounce);            // +
  kitten.api("telemetry", telemetry, "Figures of every frame.");                                                  // +
  kitten.api("pause", world, &World::pause, "Stops time, or lets it go on.", kt::arg("on") = true);               // +
  kitten.api("step", world, &World::step, "Shows some frames of a paused world.", kt::arg("frames") = 1);         // +
  kitten.on_shutdown([&] { telemetry.close(), quit = true; });                                                    // +
  const std::string problem = kitten.try_start();                                                                 // +
  std::cout << "Control socket: " << (problem.empty() ? kitten.socket_path() : "none, " + problem) << std::endl;  // +

  constexpr Clock::duration period = 1'000'000'000ns / 60;
  Clock::time_point due = Clock::now();
  for (long frame = 0; !quit && (frames == 0 || frame < frames); ++frame) {
    std::this_thread::sleep_until(due);
    const Clock::time_point begun = Clock::now();
    world.frame(1.0 / 60);
    telemetry.publish(world.figures());  // +
    kitten.poll_for(500us);              // +
    punctuality.add(begun - due, Clock::now() - begun);
    due = std::max(due + period, begun);  // who is late does not hurry
  }
  punctuality.print();
  std::cout << "Highest ball: " << world.figures()["highest"] << " m" << std::endl;
  return 0;
}
