// SPDX-License-Identifier: MIT
// wall.cpp: the time from the start of a program to its end.
//
//   wall PROGRAM ARGUMENT...   prints microseconds; what the program prints is thrown away
//
// Ctrl-C does not reach the program, so that a service that is being started is there to be stopped.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  ::signal(SIGINT, SIG_IGN);
  sigset_t interrupt;
  ::sigemptyset(&interrupt);
  ::sigaddset(&interrupt, SIGINT);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigdefault(&attributes, &interrupt);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  posix_spawn_file_actions_t streams;
  ::posix_spawn_file_actions_init(&streams);
  for (const int fd : {0, 1, 2}) ::posix_spawn_file_actions_addopen(&streams, fd, "/dev/null", O_RDWR, 0);

  const auto begun = std::chrono::steady_clock::now();
  pid_t child = 0;
  int status = 0;
  if (::posix_spawnp(&child, argv[1], &streams, &attributes, argv + 1, environ) != 0) return 127;
  if (::waitpid(child, &status, 0) != child || status != 0) return 1;
  std::printf("%.0f\n", std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
  return 0;
}
