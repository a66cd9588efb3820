// The macros of X11 are there before everything else, mean the same afterwards, and are in nobody's way.
// package: libx11-dev x11
// clang-format off
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <X11/Xatom.h>
#include <X11/Xos.h>
#include <X11/Xresource.h>
#include <X11/XKBlib.h>
#include <X11/cursorfont.h>
#include <X11/keysym.h>
#include <X11/Xproto.h>
// clang-format on

#include "kettlingar.hpp"
#include "use.hpp"

static_assert(BadValue == 2 && None == 0L && True == 1 && Success == 0 && XK_Escape == 0xff1b && XA_ATOM == 4);

Status beside(Display* display, Bool twice);
Status beside(Display* display, Bool twice) {
  return twice != False && XInternAtom(display, "kettlingar", False) == None ? BadValue : Success;
}
