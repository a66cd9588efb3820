// flags: -DKETTLINGAR_NO_JSON_OPTIONAL
// the program's own way of std::optional as json stands behind where it is first needed
#include "kettlingar.hpp"
#include "use.hpp"

inline bool convertible = std::is_constructible_v<nlohmann::json, std::optional<int>>;

namespace nlohmann {
template <>
struct adl_serializer<std::optional<double>> {
  static void to_json(json& value, const std::optional<double>& optional) { value = optional.value_or(0.0); }
};
}  // namespace nlohmann

static_assert(std::is_constructible_v<nlohmann::json, std::optional<double>>);
