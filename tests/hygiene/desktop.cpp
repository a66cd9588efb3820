// The macros of Qt and X11 are there before everything else, mean the same afterwards, and are in nobody's way.
#define emit
#define slots
#define signals public
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
#define Q_EMIT
#define Above 0
#define Always 2
#define Below 1
#define Bool int
#define Complex 0
#define ControlMask (1 << 2)
#define Convex 2
#define CurrentTime 0L
#define CursorShape 0
#define DestroyAll 0
#define Expose 12
#define False 0
#define FocusIn 9
#define FocusOut 10
#define GrayScale 1
#define KeyPress 2
#define KeyRelease 3
#define None 0L
#define Opposite 4
#define RootWindow(display, screen) 0
#define Status int
#define Success 0
#define True 1
#define Unsorted 0

#include "kettlingar.hpp"
#include "use.hpp"

class Widget {
 signals:
  void pressed();
 public slots:
  Status press() {
    foreach (char letter, std::string("ab")) {
      if (letter == 'b') emit pressed();
    }
    forever { return Success; }
  }
};
#if !defined(Q_EMIT) || None != 0L || True != 1
#error "a macro is gone"
#endif
