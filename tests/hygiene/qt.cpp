// The words that Qt makes macros of mean the same afterwards, and are in nobody's way.
// package: qtbase5-dev Qt5Widgets
// flags: -fPIC
#include <QtCore>
#include <QtWidgets>

#include "kettlingar.hpp"
#include "use.hpp"

class Window : public QWidget {
 signals:
  void pressed(int times);
 public slots:
  void press() {
    foreach (const QString& text, QStringList("ab")) {
      if (text.size() == 2) emit pressed(qMax(1, 2));
    }
    forever break;
  }

 public:
  // As the README shows it.
  void show_what_is_asked(kettlingar::Kitten& kitten) {
    kitten.run_handlers_on([this](auto work) { QMetaObject::invokeMethod(this, work, Qt::QueuedConnection); });
  }
};
