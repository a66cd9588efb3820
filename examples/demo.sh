#!/bin/sh
# demo.sh: the examples at work, each step with its command line. `make demo` builds them first.
set -eu
cd "$(dirname "$0")/.."
state=$(mktemp -d)
trap 'for each in kitten sysmon filecat "filecat --worker-name=tom"; do build/$each $options stop >/dev/null 2>&1 || :; done; rm -rf "$state"' EXIT
trap 'exit 130' INT TERM
options="--app-state-dir=$state"

# Shows a command line as one would type it, then runs it.
step() {
  printf '\n$ %s\n' "$*"
  "$@"
}

echo "== kitten: a sample service (examples/kitten.cpp); its state is in $state for now =="
step build/kitten "$options" start
step build/kitten "$options" ping
step build/kitten "$options" meow
if command -v curl >/dev/null 2>&1; then
  url=$(cat "$state/Kitty.url")
  # The last part of the URL is the token: only this user can read it from the url file.
  step curl -s "${url%/*}/meow"
  printf '\n$ curl -s "$(cat %s)/purr?count=2"\n' "$state/Kitty.url"
  curl -s "$url/purr?count=2"
else
  printf '\n(no curl here: its part is left out)\n'
fi
step build/kitten "$options" purr 3
step build/kitten "$options" help purr
step build/kitten "$options" stop

printf '\n== sysmon: a helper daemon (examples/sysmon.cpp) that watches this machine ==\n'
step build/sysmon "$options" start
step build/sysmon "$options" ping
step build/sysmon "$options" snapshot
step build/sysmon "$options" watch --interval=0.5 --count=2
step build/sysmon "$options" --json snapshot
step build/sysmon "$options" help watch
step build/sysmon "$options" stop

printf '\n== filecat: open files that travel, and answers that two processes give together (examples/filecat.cpp) ==\n'
step build/filecat "$options" start
step build/filecat "$options" --worker-name=tom start
step build/filecat "$options" cat examples/hello.cpp | sed -n '1,8p'
step build/filecat "$options" play_with tom
step build/filecat "$options" --worker-name=tom play_with milton
step build/filecat "$options" ping_pong "the ball" 4
step build/filecat "$options" --worker-name=tom stop
step build/filecat "$options" stop

printf '\n== kitten_client: a program that starts the kitten, calls it and stops it (examples/kitten_client.cpp) ==\n'
step build/kitten_client "$options"
