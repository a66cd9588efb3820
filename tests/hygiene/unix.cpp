// The macros of the C library and of many programs (syslog's, major and minor, LIKELY, DEBUG) are in nobody's way.
#include <assert.h>
#include <limits.h>
#include <sys/param.h>
#include <sys/types.h>
#if defined(__linux__)
#include <sys/sysmacros.h>
#endif
#include <syslog.h>
#if !defined(major)
#define major(device) ((device) >> 8)
#define minor(device) ((device)&255)
#endif
#define DEBUG 1
#define INFO 2
#define WARNING 3
#define FATAL 5
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#define likely(x) (x)
#define unlikely(x) (x)
#define ASSERT(x) assert(x)
#define CHECK(x) assert(x)
#define REQUIRE(x) assert(x)
#define check(x) assert(x)
#define verify(x) assert(x)
#define countof(x) (sizeof(x) / sizeof *(x))
#define array_size(x) (sizeof(x) / sizeof *(x))

#include "kettlingar.hpp"
#include "use.hpp"

static_assert(LOG_ERR == 3 && LOG_INFO == 6);
