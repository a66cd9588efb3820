// SPDX-License-Identifier: MIT
// base/version.hpp: the only version numbers of the project, and what the header needs to compile.
#pragma once

#if !defined(__cplusplus) || __cplusplus < 202002L
#error "kettlingar needs C++20: compile with -std=c++20 (g++ 12 or newer, clang 15 or newer)"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#elif defined(__clang__) ? __clang_major__ < 15 : defined(__GNUC__) && __GNUC__ < 12
#error "kettlingar needs g++ 12 or newer, or clang 15 or newer: with older ones it does not compile, or is not tested"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if !defined(__unix__) && !defined(__APPLE__)
#error "kettlingar needs a POSIX system (unix sockets, descriptor passing); on Windows use WSL"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if !defined(__cpp_exceptions)
#error "kettlingar needs C++ exceptions: remove -fno-exceptions"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if defined(JSON_NOEXCEPTION)
#error "kettlingar needs nlohmann_json with exceptions: remove JSON_NOEXCEPTION"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if !__has_include(<asio.hpp>)
#error "kettlingar needs standalone Asio 1.22 or newer (Debian/Ubuntu: apt install libasio-dev)"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if !__has_include(<nlohmann/json.hpp>)
#error "kettlingar needs nlohmann_json 3.11 or newer (Debian/Ubuntu: apt install nlohmann-json3-dev)"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if defined(ASIO_DETAIL_CONFIG_HPP) && !defined(ASIO_HAS_CO_AWAIT)
#error \
    "kettlingar needs Asio with coroutines: include kettlingar.hpp before Asio, or compile everything with -DASIO_HAS_CO_AWAIT=1 -DASIO_HAS_STD_COROUTINE=1"
#define KETTLINGAR_CANNOT_COMPILE_HERE
#endif
#if defined(KETTLINGAR_CANNOT_COMPILE_HERE)
#include <kettlingar.hpp/see_the_error_above>  // does not exist: compilers stop here, without further errors
#endif

// Asio 1.22 does not know that clang 15 and newer have coroutines: these macros have to be defined before it is
// included.
#if defined(__clang__) && __clang_major__ >= 15
#if !defined(ASIO_HAS_CO_AWAIT)
#define ASIO_HAS_CO_AWAIT 1
#endif
#if !defined(ASIO_HAS_STD_COROUTINE)
#define ASIO_HAS_STD_COROUTINE 1
#endif
#endif
#if !defined(__cpp_rtti) && !defined(ASIO_NO_TYPEID)
#define ASIO_NO_TYPEID 1
#endif

// Header-only unless KETTLINGAR_SPLIT is defined. Then files that include this see the public half only, and one file
// of the program, which defines KETTLINGAR_IMPLEMENTATION as well, has the other half. A test may include parts of
// that; it leaves their functions to the one file.
#if !defined(KETTLINGAR_SPLIT)
#define KETTLINGAR_INLINE inline
#elif defined(KETTLINGAR_IMPLEMENTATION)
#define KETTLINGAR_INLINE
#else
#define KETTLINGAR_INLINE [[gnu::gnu_inline]] inline
#endif

// KETTLINGAR_INLINE for functions that run seldom, at a start or for help texts: compilers make them small, not fast.
#define KETTLINGAR_COLD [[gnu::cold]] KETTLINGAR_INLINE

#define KETTLINGAR_VERSION_MAJOR 0
#define KETTLINGAR_VERSION_MINOR 1
#define KETTLINGAR_VERSION_PATCH 0
#define KETTLINGAR_VERSION \
  (KETTLINGAR_VERSION_MAJOR * 10000 + KETTLINGAR_VERSION_MINOR * 100 + KETTLINGAR_VERSION_PATCH)
