// Boost.Asio, where there is one, is another library that can be used beside ours. (Boost 1.74 is not beside any Asio:
// both name the same global namespaces; no program has the two.)
#if __has_include(<boost/version.hpp>)
#include <boost/version.hpp>
#endif
#if defined(BOOST_VERSION) && BOOST_VERSION >= 108000
#define BOOST_ASIO_NO_DEPRECATED 1

#include <boost/asio.hpp>
#endif

#include "kettlingar.hpp"
#include "use.hpp"

#if defined(BOOST_ASIO_VERSION)
static_assert(!std::is_same_v<boost::asio::io_context, asio::io_context>);
void beside(boost::asio::io_context& theirs, asio::io_context& ours) {
  boost::asio::post(theirs, [&ours] { asio::post(ours, [] {}); });
}
#endif
