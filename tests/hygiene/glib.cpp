// The macros of GLib and GIO, on which GTK stands, are there before everything else and are in nobody's way.
// package: libglib2.0-dev gio-unix-2.0
#define GETTEXT_PACKAGE "hygiene"
// clang-format off
#include <glib.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <glib/gi18n-lib.h>
#if __has_include(<gtk/gtk.h>)
#include <gtk/gtk.h>
#endif
// clang-format on

#include "kettlingar.hpp"
#include "use.hpp"

static_assert(MAX(1, 2) == 2 && ABS(-1) == 1 && G_N_ELEMENTS("ab") == 3);

const char* beside(gboolean found) { return found == TRUE ? _("found") : N_("not found"); }
