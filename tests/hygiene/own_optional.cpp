// the program has its own way of std::optional as json, before our header and behind it
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace nlohmann {
template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& value, const std::optional<T>& optional) {
    value = optional ? json(*optional) : json("none");
  }
  static void from_json(const json& value, std::optional<T>& optional) {
    optional = value == "none" ? std::nullopt : std::optional<T>(value.get<T>());
  }
};
}  // namespace nlohmann

inline nlohmann::json used_before(std::optional<int> value) { return value; }

#include "kettlingar.hpp"
#include "use.hpp"

struct Note {
  std::optional<std::string> text;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, text)

void add_note(kettlingar::Kitten& kitten) {
  kitten.api(
      "note", [](Note note) { return note; }, "", kettlingar::arg("note"));
}
