// SPDX-License-Identifier: MIT
// frames.cpp: the loop of examples/control_socket_loop.cpp with frames to count: how long does each keep its thread?
//
//   frames COUNT RATE VIEWERS DIR   prints median, 99th and 99.9th percentile in microseconds
//
// It begins when so many viewers follow the method `telemetry` of frames/loop, whose files are in DIR. Without the
// lines that end in "// +" it is the same loop without the library, and the last two words mean nothing.
#include "kettlingar.hpp"  // +

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class World {
 public:
  void frame(double seconds) {
    ++frame_;
    double highest = 0, energy = 0;
    for (Ball& ball : balls_) {
      ball.speed -= 9.81 * seconds;
      ball.height += ball.speed * seconds;
      if (ball.height < 0) ball = {0, -0.9 * ball.speed};
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
  long frame_ = 0;
};

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int count = std::atoi(argv[1]), rate = std::atoi(argv[2]);
  if (count < 1 || rate < 1) return 2;
  World world;
  kettlingar::Topic<std::map<std::string, double>> telemetry;                                 // +
  kettlingar::Kitten kitten("frames", "loop");                                                // +
  kitten.settings().app_state_dir = argv[4];                                                  // +
  kitten.api("telemetry", telemetry);                                                         // +
  kitten.on_shutdown([&] { telemetry.close(); });                                             // +
  kitten.start();                                                                             // +
  const auto viewers = static_cast<std::size_t>(std::atoi(argv[3]));                          // +
  const Clock::time_point patience = Clock::now() + 60s;                                      // +
  while (telemetry.subscribers() < viewers && Clock::now() < patience) kitten.poll_for(1ms);  // +

  const Clock::duration period = 1'000'000'000ns / rate;
  constexpr int warm_up = 100;
  std::vector<double> busy;
  Clock::time_point due = Clock::now();
  for (int frame = 0; frame < warm_up + count; ++frame) {
    std::this_thread::sleep_until(due);
    const Clock::time_point begun = Clock::now();
    world.frame(1.0 / 60);
    telemetry.publish(world.figures());  // +
    kitten.poll_for(500us);              // +
    if (frame >= warm_up) busy.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begun).count());
    due = std::max(due + period, begun);
  }
  if (telemetry.subscribers() != viewers) return 1;  // +

  std::sort(busy.begin(), busy.end());
  for (const double part : {0.5, 0.99, 0.999})
    std::printf("%.0f ", busy[static_cast<std::size_t>(part * static_cast<double>(busy.size() - 1))]);
  std::printf("highest %.3f\n", world.figures()["highest"]);
  return 0;
}
