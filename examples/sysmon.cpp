// sysmon.cpp: a helper daemon that watches the machine it runs on: load, memory and the busiest processes, from /proc.
#include "kettlingar.hpp"

#include <dirent.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace kt = kettlingar;

struct Process {
  int pid;
  std::string name;
  double cpu;  // per cent of one processor since the last look, or since the process began
  long memory_kb;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Process, pid, name, cpu, memory_kb)

struct Snapshot {
  double load = 0;
  double memory_used = 0;  // per cent
  std::vector<Process> busiest;
  std::string _format;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Snapshot, load, memory_used, busiest, _format)

// Looks at /proc; remembers the processor times of the last look.
class Monitor {
 public:
  Snapshot look(std::size_t count) {
    Snapshot now;
    std::ifstream("/proc/loadavg") >> now.load;
    now.memory_used = memory_used();
    now.busiest = busiest(count);
    now._format = "load %(load).2f, memory %(memory_used).1f %%";
    for (const Process& process : now.busiest) {
      char line[128];
      std::snprintf(line, sizeof line, "\n%7d %6.1f %% %8ld KB  %s", process.pid, process.cpu, process.memory_kb,
                    process.name.c_str());
      for (const char* c = line; *c != '\0'; ++c) now._format += *c == '%' ? "%%" : std::string(1, *c);
    }
    return now;
  }

 private:
  static double memory_used() {
    std::ifstream file("/proc/meminfo");
    std::string key, unit;
    double value = 0, total = 0, available = 0;
    while (file >> key >> value && std::getline(file, unit)) {
      if (key == "MemTotal:") total = value;
      if (key == "MemAvailable:") available = value;
    }
    return total > 0 ? tenths(100 * (total - available) / total) : 0;
  }

  std::vector<Process> busiest(std::size_t count) {
    const double uptime = seconds_since_boot();
    const double elapsed = uptime - last_look_;
    std::map<int, double> cpu_times;
    std::vector<Process> processes;
    DIR* directory = ::opendir("/proc");
    while (const dirent* entry = directory != nullptr ? ::readdir(directory) : nullptr) {
      const int pid = std::atoi(entry->d_name);
      if (pid > 0) look_at(pid, uptime, elapsed, cpu_times, processes);
    }
    if (directory != nullptr) ::closedir(directory);
    last_look_ = uptime;
    cpu_times_ = std::move(cpu_times);
    std::sort(processes.begin(), processes.end(), [](const Process& a, const Process& b) { return a.cpu > b.cpu; });
    if (processes.size() > count) processes.resize(count);
    return processes;
  }

  void look_at(int pid, double uptime, double elapsed, std::map<int, double>& cpu_times,
               std::vector<Process>& processes) const {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(file, line)) return;  // it has ended meanwhile
    // The name stands in brackets and may contain blanks and brackets itself.
    const std::size_t open = line.find('('), close = line.rfind(')');
    if (open == std::string::npos || close == std::string::npos) return;
    std::istringstream rest(line.substr(close + 1));
    std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
    if (fields.size() < 22) return;
    const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    const double cpu_time = (std::stod(fields[11]) + std::stod(fields[12])) / ticks;
    const double age = uptime - std::stod(fields[19]) / ticks;
    cpu_times[pid] = cpu_time;
    const auto before = cpu_times_.find(pid);
    const bool known = before != cpu_times_.end() && elapsed > 0;
    const double cpu = known ? (cpu_time - before->second) / elapsed : age > 0 ? cpu_time / age : 0;
    const long memory_kb = std::stol(fields[21]) * (::sysconf(_SC_PAGESIZE) / 1024);
    processes.push_back({pid, line.substr(open + 1, close - open - 1), tenths(100 * cpu), memory_kb});
  }

  static double tenths(double value) { return std::round(value * 10) / 10; }

  static double seconds_since_boot() {
    double seconds = 0;
    std::ifstream("/proc/uptime") >> seconds;
    return seconds;
  }

  double last_look_ = 0;
  std::map<int, double> cpu_times_;
};

// By-value parameters live in the coroutine; each stream has a Monitor, and so a rhythm, of its own.
kt::Generator<Snapshot> watch(double interval, std::optional<int> count) {
  Monitor monitor;
  for (int i = 0; !count || i < *count; ++i) {
    if (i > 0) co_await kt::sleep_for(std::chrono::milliseconds(static_cast<long>(interval * 1000)));
    const Snapshot now = monitor.look(3);
    co_yield now;
  }
}

int main(int argc, char** argv) {
  kt::Kitten kitten("sysmon", "monitor", "sysmon - load, memory and the busiest processes of this machine");
  int processes = 5;
  kitten.option("processes", processes, "How many processes a snapshot shows");
  Monitor monitor;
  kitten.api(
      "snapshot", [&] { return monitor.look(static_cast<std::size_t>(std::max(processes, 0))); },
      "How the machine is doing now.", kt::read_only);
  kitten.api("watch", watch, "How the machine is doing, again and again.", kt::read_only,
             kt::arg("interval").doc("Seconds between two looks.").min(0.01).max(86400) = 1.0,
             kt::arg("count").doc("How many looks; without end if not given.").min(1) = nullptr);
  return kitten.main(argc, argv);
}
