// without the explorer page
// flags: -DKETTLINGAR_NO_EXPLORER
#include "use.hpp"

static_assert(kettlingar::detail::explorer_page.empty());
