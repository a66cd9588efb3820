// without the explorer page
// flags: -DKETTLINGAR_NO_EXPLORER
#include "kettlingar.hpp"

#include "use.hpp"

static_assert(kettlingar::detail::explorer_page.empty());
