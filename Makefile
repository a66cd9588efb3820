# SPDX-License-Identifier: MIT
# kettlingar's build, by GNU make, on all processors (-j2: on two). All results go to build/, fetched libraries to .deps/.
# A line for each step; V=1 shows the commands.
#
#   make            the examples: build/<name> from examples/<name>.cpp
#   make test       examples and test suite, and runs the tests       TEST_ARGS='-tc=*chunk*' runs some
#   make unit       the tests of some parts alone                     U='os client_calls' names them
#   make demo       the examples at work
#   make header     src/ joined into kettlingar.hpp; edit src/, never the result
#   make check      all that CI asks for beyond `test`                CHECKS='header layers' runs some
#                   LAYOUT=1 writes anew what the public types look like (CHECKS=layout)
#   make asan       the tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make tsan       the tests under ThreadSanitizer
#   make fuzz       random inputs for what reads bytes of strangers   TARGETS='msgpack conn' SECONDS_EACH=600 JOBS=2
#   make hostile    what nobody should send to a service, over raw sockets   HOSTILE_ARGS=--only=chunk runs some
#   make interop    our clients and services with those of the Python package, where that can be imported
#   make proxies    a service behind nginx and HAProxy, where one of them is installed
#   make browser    a headless browser visits pages of a service, and of strangers who want something of it, and uses
#                   the explorer page
#   make agents     programs from npm use a service by what it tells of itself, where npm can get them
#   make check-arch the tests on other kinds of machine: 32 bits, and emulated ones   ARCHES=s390x runs one
#   make faults     failing calls and memory, short reads, kills, full disks, hostile crowds: half an hour
#                   FORM=io only short reads, SEEDS='1 2' of these; FORM=thread a service with ThreadSanitizer
#   make soak       mixed load for half an hour                       DURATION=600 is ten minutes
#   make bench      what requests, streams, calls and values cost, beside others   ROUNDS=1 is quick, RESULTS=1 keeps it
#   make guard      counts instructions: nothing may take 5 % more than before   BASELINE=1 writes the counts anew
#   make bench-compile  what the header costs the compiler, beside others   ROUNDS=1 is quick
#   make bench-embed    what the library costs a program that has it inside: frames, bytes, memory, time to start
#   make format     clang-format on what is written by hand
#   make clean      removes build/ (rm -r .deps as well to look for the libraries afresh)
#
# On the command line: CXX=clang++-16, CXXFLAGS='-O0 -g', CPPFLAGS='-isystem /where/asio/is', WERROR=-Werror and so on.
# A program of your own needs none of this: g++ -std=c++20 main.cpp -pthread

CXXFLAGS  ?= -O0
WARNINGS  ?= -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor
WERROR    ?=
TEST_ARGS ?=
HOSTILE_ARGS ?=
CHECKS    ?=
DURATION  ?= 1800
FORM      ?= full

EXAMPLES  := $(patsubst examples/%.cpp,build/%,$(wildcard examples/*.cpp))
OWN_FLAGS := -DJSON_USE_IMPLICIT_CONVERSIONS=0
COMPILE    = $(CXX) -std=c++20 -I. $(CPPFLAGS) $(DEPS_FLAGS) $(OWN_FLAGS) $(WARNINGS) $(WERROR) $(CXXFLAGS) -pthread
DEPENDS    = -MMD -MP -MT $@ -MF $@.d
# -O0, for g++ takes minutes to optimise what the sanitizers add.
ASAN      := -O0 -g -fsanitize=address,undefined -fno-sanitize-recover=all
TSAN      := -O0 -g -fsanitize=thread
# What decides how objects look. When it changes, build/deps.mk is remade and everything after it.
BUILD_KEY := $(strip $(CXX) $(CPPFLAGS) $(CXXFLAGS) $(LDFLAGS) $(LDLIBS))

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
endif
GNU_MAKE  := $(MAKE)
export GNU_MAKE CXX CPPFLAGS CXXFLAGS LDFLAGS LDLIBS WARNINGS OWN_FLAGS DEPS_FLAGS ASAN TSAN BUILD_KEY TEST_ARGS
export TARGETS SECONDS_EACH JOBS SEEDS

.PHONY: all test unit demo header check asan tsan fuzz hostile interop proxies browser agents faults soak check-arch \
  bench guard bench-compile bench-embed format clean FORCE
.DELETE_ON_ERROR:

all: $(EXAMPLES)

# DEPS_FLAGS (where the libraries are) comes from here.
ifneq ($(filter-out header format clean,$(or $(MAKECMDGOALS),all)),)
include build/deps.mk
ifeq ($(MAKE_RESTARTS),)
ifneq ($(strip $(DEPS_KEY)),$(strip $(BUILD_KEY) $(wildcard .deps/root)))
build/deps.mk: FORCE
endif
endif
endif

build/deps.mk: .ci/deps
	@mkdir -p build
	@sh .ci/deps

# $(call step,NAME,COMMAND) is a line of a recipe: it prints `[ 7/23] NAME`, and the command only if that fails. How many
# steps there are make says itself, when asked what it would do.
ifneq ($(STEPS),count)
ifneq ($(and $(DEPS_KEY),$(filter-out header format clean check,$(or $(MAKECMDGOALS),all))),)
STEPS := $(shell $(MAKE) -n STEPS=count $(MAKEOVERRIDES) $(MAKECMDGOALS) 2>/dev/null | grep -c '^: step')
endif
endif
nth_step = $(eval STEP := $(STEP) x)$(words $(STEP))
progress = $(shell printf '[%*d/%d]' $$(printf %s $(STEPS) | wc -c) $(nth_step) $(STEPS))
quoted   = '$(subst ','\'',$(1))'
ifeq ($(STEPS),count)
step = : step
else ifneq ($(V),)
step = $(2)
else ifneq ($(findstring s,$(firstword -$(MAKEFLAGS))),)
step = @$(2)
else
step = @echo '$(progress) $(1)'; $(2) || { printf '%s\n' $(call quoted,$(2)) >&2; exit 1; }
endif

# Split mode: the library's own code is compiled once, everything else reads declarations only, where the compiler is
# g++ from a precompiled header.
SPLIT      := -DKETTLINGAR_SPLIT
UNIT_SPLIT := $(SPLIT) -iquote src
UNIT_TESTS := $(wildcard tests/unit/*.cpp)
UNIT       := $(UNIT_TESTS:tests/unit/%.cpp=build/unit/%.o)
LIBRARY    := build/unit/implementation.o
ifeq ($(findstring clang,$(CXX)),)
PRECOMPILED      := build/unit/example.hpp.gch
UNIT_PRECOMPILED := build/unit/test.hpp.gch
use_precompiled   = -Winvalid-pch -include $(1:.gch=)
GROUPED          := -Wno-subobject-linkage
else
# It has an opinion about KETTLINGAR_INLINE in tests.
UNIT_SPLIT       += -Wno-gnu-inline-cpp-without-extern -Wno-static-local-in-inline
endif

build/unit:
	@mkdir -p $@

build/unit/example.hpp: | build/unit
	@echo '#include "kettlingar.hpp"' >$@

build/unit/test.hpp: $(wildcard tests/unit/*.hpp) | build/unit
	@printf '#include "%s"\n' tests/unit/support.hpp $(filter-out %/support.hpp,$(filter %.hpp,$^)) >$@

build/unit/example.hpp.gch: build/unit/example.hpp build/deps.mk
	$(call step,$<,$(COMPILE) $(SPLIT) $(DEPENDS) -x c++-header $< -o $@)

build/unit/test.hpp.gch: build/unit/test.hpp build/deps.mk
	$(call step,$<,$(COMPILE) $(UNIT_SPLIT) $(DEPENDS) -x c++-header $< -o $@)

$(LIBRARY): tests/implementation.cpp build/deps.mk | build/unit
	$(call step,$<,$(COMPILE) $(SPLIT) $(DEPENDS) -c $< -o $@)

# As the README shows it: the header alone.
build/hello: examples/hello.cpp build/deps.mk
	$(call step,$<,$(COMPILE) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

$(filter-out build/hello,$(EXAMPLES)): build/%: examples/%.cpp $(LIBRARY) $(PRECOMPILED) build/deps.mk
	$(call step,$<,$(COMPILE) $(SPLIT) $(call use_precompiled,$(PRECOMPILED)) $(DEPENDS) $< $(LIBRARY) -o $@ $(LDFLAGS) $(LDLIBS))

$(UNIT): build/unit/%.o: tests/unit/%.cpp $(UNIT_PRECOMPILED) build/deps.mk | build/unit
	$(call step,$<,$(COMPILE) $(UNIT_SPLIT) $(call use_precompiled,$(UNIT_PRECOMPILED)) $(DEPENDS) -c $< -o $@)

build/unit/main.o: kettlingar_test.cpp $(UNIT_PRECOMPILED) build/deps.mk | build/unit
	$(call step,$<,$(COMPILE) $(UNIT_SPLIT) $(call use_precompiled,$(UNIT_PRECOMPILED)) $(DEPENDS) -c $< -o $@)

# All tests: the files of a folder in one object, for what they instantiate is largely the same. In g++'s eyes the files
# are headers then, and those should have no unnamed namespaces.
UNIT_GROUPS := $(sort $(foreach file,$(notdir $(basename $(UNIT_TESTS))),$(firstword $(subst _, ,$(file)))))
UNIT_GROUPS := $(filter service,$(UNIT_GROUPS)) $(filter-out service,$(UNIT_GROUPS))
group_files  = $(filter tests/unit/$(1).cpp tests/unit/$(1)_%,$(UNIT_TESTS))
$(foreach group,$(UNIT_GROUPS),$(eval build/unit/all_of_$(group).o: $(call group_files,$(group))))

$(UNIT_GROUPS:%=build/unit/all_of_%.o): build/unit/all_of_%.o: $(UNIT_PRECOMPILED) build/deps.mk | build/unit
	$(call step,tests/unit/$*,$(COMPILE) $(UNIT_SPLIT) $(GROUPED) $(call use_precompiled,$(UNIT_PRECOMPILED)) $(addprefix -include ,$(call group_files,$*)) $(DEPENDS) -x c++ -c /dev/null -o $@)

build/kettlingar_test: build/unit/main.o $(LIBRARY) $(UNIT_GROUPS:%=build/unit/all_of_%.o)
	$(call step,$@,$(CXX) $(CXXFLAGS) -pthread $^ -o $@ $(LDFLAGS) $(LDLIBS))

# Some files of tests/unit alone.
unit: build/unit/main.o $(LIBRARY) $(U:%=build/unit/%.o)
	$(call step,build/unit_some,$(CXX) $(CXXFLAGS) -pthread $^ -o build/unit_some $(LDFLAGS) $(LDLIBS))
	build/unit_some $(TEST_ARGS)

# Header-only, and all in one: what sanitizers see is what programs get.
build/asan_test build/tsan_test: kettlingar_test.cpp $(UNIT_TESTS) build/deps.mk
	$(call step,$@,$(COMPILE) -iquote src $(SANITIZE) $(DEPENDS) $(UNIT_TESTS:%=-include %) $< -o $@ $(LDFLAGS) $(LDLIBS))

build/asan_test: SANITIZE := $(ASAN)
build/tsan_test: SANITIZE := $(TSAN)

# All targets in one program, at -O0: what fuzzing has found stays found, without clang as well.
build/fuzz_replay: tests/fuzz/targets.cpp build/deps.mk
	$(call step,$<,$(COMPILE) -Isrc $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

test: all build/kettlingar_test build/fuzz_replay
	build/fuzz_replay tests/fuzz/corpus
	@sh tests/unit/run build/kettlingar_test $(TEST_ARGS)

demo: all
	sh examples/demo.sh

asan: all build/asan_test
	@UBSAN_OPTIONS=print_stacktrace=1 sh tests/unit/run build/asan_test $(TEST_ARGS)

# Not the suites of wire/, which know no threads and would take minutes. Address randomisation wider than g++ 12's ThreadSanitizer expects would stop it; setarch -R turns it off.
tsan: all build/tsan_test
	@$$(setarch -R true 2>/dev/null && echo setarch -R) sh tests/unit/run build/tsan_test -tse='wire/*' $(TEST_ARGS)

fuzz: build/deps.mk
	@sh tests/fuzz/run fuzz || [ $$? = 77 ]

# Needs nothing but the system's headers. Optimised, for it looks at every byte of some 6000 conversations.
build/hostile: tests/hostile/hostile.cpp
	@mkdir -p build
	$(call step,$<,$(CXX) -std=c++20 $(CPPFLAGS) $(WARNINGS) $(WERROR) $(CXXFLAGS) -O1 $< -o $@ $(LDFLAGS))

build/asan_kitten: examples/kitten.cpp build/deps.mk
	$(call step,$<,$(COMPILE) $(ASAN) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

hostile: build/hostile build/kitten
	build/hostile $(HOSTILE_ARGS) build/kitten tests/hostile/*.txt

build/interop_peer: tests/interop/peer.cpp build/deps.mk
	$(call step,$<,$(COMPILE) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

# PYTHON and PYTHONPATH say where the package is.
interop: all build/interop_peer
	sh tests/interop/run || [ $$? = 77 ]

proxies: build/kitten
	@sh tests/proxies/run || [ $$? = 77 ]

build/browser_visit: tests/browser/visit.cpp build/deps.mk
	$(call step,$<,$(COMPILE) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

build/browser_explorer: tests/browser/explorer.cpp $(LIBRARY) build/deps.mk
	$(call step,$<,$(COMPILE) $(SPLIT) $(DEPENDS) $< $(LIBRARY) -o $@ $(LDFLAGS) $(LDLIBS))

# BROWSER names one that is not found by itself.
browser: build/browser_visit build/browser_explorer
	@sh tests/browser/run || [ $$? = 77 ]

agents: build/kitten
	@sh tests/agents/run || [ $$? = 77 ]

check-arch: build/deps.mk
	@sh tests/arch/run

# The first two know the library, the others only the wire.
FAULTS := $(addprefix build/faults/,service session table processes crowd shim.so)

build/faults:
	mkdir -p $@

build/faults/service build/faults/service_asan build/faults/service_tsan: tests/faults/service.cpp build/deps.mk | build/faults
	$(call step,$<,$(COMPILE) $(SANITIZE) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

build/faults/session: tests/faults/session.cpp tests/faults/shim.cpp tests/faults/shim.hpp kettlingar.hpp build/deps.mk | build/faults
	$(call step,$@,$(COMPILE) $(SANITIZE) tests/faults/session.cpp tests/faults/shim.cpp -o $@ -rdynamic $(LDFLAGS) $(LDLIBS) -ldl)

build/faults/service_asan build/faults/session: SANITIZE := $(ASAN)
build/faults/service_tsan: SANITIZE := $(TSAN)

build/faults/table build/faults/processes build/faults/crowd: build/faults/%: tests/faults/%.cpp tests/faults/support.hpp \
  build/deps.mk | build/faults
	$(call step,$<,$(COMPILE) $< -o $@ $(LDFLAGS) $(LDLIBS))

build/faults/shim.so: tests/faults/shim.cpp tests/faults/shim.hpp build/deps.mk | build/faults
	$(call step,$<,$(COMPILE) -shared -fPIC $< -o $@ -ldl)

FAULTS_OF_io     := all build/faults/shim.so build/kettlingar_test
FAULTS_OF_thread := $(addprefix build/faults/,service_tsan table crowd)
FAULTS_OF_full   := all $(FAULTS) build/faults/service_asan build/kettlingar_test

faults: $(FAULTS_OF_$(FORM))
	sh tests/faults/run $(FORM)

soak: build/faults/service build/faults/crowd
	build/faults/crowd soak build/faults/service $(DURATION)

# Of ours, and what knows no library. The scripts compile the others, which may not be here.
BENCH := $(addprefix build/bench/,service client load loop stream hold pingpong)

build/bench:
	mkdir -p $@

build/bench/service build/bench/load build/bench/loop build/bench/stream build/bench/hold: build/bench/%: bench/http/%.cpp
build/bench/client build/bench/pingpong: build/bench/%: bench/client/%.cpp

$(BENCH): build/deps.mk | build/bench
	$(call step,$(filter %.cpp,$^),$(COMPILE) -O2 $(DEPENDS) $(filter %.cpp,$^) -o $@ $(LDFLAGS) $(LDLIBS))

bench: $(BENCH)
	@sh bench/http/run
	@sh bench/client/run
	@sh bench/codec/run
	@sh bench/report http client codec

# Not CXXFLAGS: the counts of the baseline are those of -O2.
build/guard: bench/guard/guard.cpp build/deps.mk
	$(call step,$<,$(COMPILE) $(DEPENDS) $< -o $@ $(LDFLAGS) $(LDLIBS))

build/guard: override CXXFLAGS := -O2

guard: build/guard
	@sh bench/guard/run || [ $$? = 77 ]

bench-compile: build/deps.mk
	@sh bench/compile/run

bench-embed: build/deps.mk
	@sh bench/embed/run

check:
	@MAKEFLAGS= sh .ci/check $(CHECKS)

# Not a file rule: nothing rebuilds the header behind anyone's back, so `check` sees when it is stale.
header:
	@mkdir -p build
	@make_of() { new=build/$$$$.new; sh $$1 >$$new || { rm -f $$new; exit 1; }; \
	  if cmp -s $$new $$2; then rm $$new; else mv $$new $$2; fi; }; \
	  make_of src/page.sh src/service/explorer_page.ipp; make_of src/join.sh kettlingar.hpp

# Not src/kettlingar.hpp: its includes stand in reading order.
format:
	find $(wildcard src examples tests bench kettlingar_test.cpp) \( -name '*.hpp' -o -name '*.ipp' -o -name '*.cpp' \) \
	  ! -path src/kettlingar.hpp -exec clang-format -i {} +

clean:
	rm -rf build

-include $(wildcard build/*.d build/unit/*.d build/bench/*.d build/faults/*.d)
