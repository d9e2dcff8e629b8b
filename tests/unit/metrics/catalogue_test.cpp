#include "metrics/catalogue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace pgleash::metrics {
namespace {

/// Compares with a file of the source tree, or writes it when that is asked for.
void expect_same_as_file(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path{PGLEASH_SOURCE_DIR} / name;
  const char* update = std::getenv("PGLEASH_UPDATE_GOLDEN");
  if (update != nullptr && std::string_view{update} == "1") {
    std::ofstream{path, std::ios::binary} << text;
    GTEST_SKIP() << "wrote " << name;
  }
  std::ostringstream file;
  file << std::ifstream{path, std::ios::binary}.rdbuf();
  EXPECT_EQ(file.str(), text) << name << " is not what metrics/catalogue.cpp says. If the change "
                              << "is meant, run this test with PGLEASH_UPDATE_GOLDEN=1 and commit "
                              << "the file with it.";
}

TEST(Catalogue, NamesTypesAndLabelsAreThoseThatDashboardsDependOn) {
  expect_same_as_file("tests/golden/metrics.txt", generate_metrics_list());
}

TEST(Catalogue, ReferencePageIsUpToDate) {
  expect_same_as_file("docs/metrics.md", generate_metrics_page());
}

TEST(Catalogue, NamesAreUniqueAndFollowTheConventions) {
  std::set<std::string_view> names;
  for (const MetricSpec& metric : catalogue()) {
    SCOPED_TRACE(metric.name);
    EXPECT_TRUE(names.insert(metric.name).second);
    EXPECT_TRUE(metric.name.starts_with("pgleash_") || metric.name.starts_with("process_"));
    EXPECT_EQ(metric.type == prometheus::MetricType::Counter, metric.name.ends_with("_total"));
    EXPECT_TRUE(metric.help.ends_with('.'));
    if (metric.unit.starts_with("seconds") || metric.unit == "bytes") {
      EXPECT_NE(metric.name.find(metric.unit.substr(0, metric.unit.find(' '))),
                std::string_view::npos);
    }
  }
}

TEST(Catalogue, EveryLabelSaysWhatBoundsIt) {
  for (const MetricSpec& metric : catalogue()) {
    for (const LabelSpec& label : metric.labels) {
      SCOPED_TRACE(std::string{metric.name} + " " + std::string{label.name});
      EXPECT_NE(label.values.empty(), label.bound.empty());
      EXPECT_THAT(label.name, testing::Not(testing::AnyOf("pid", "address", "port", "query",
                                                          "session", "incident", "sqlstate")));
    }
  }
}

}  // namespace
}  // namespace pgleash::metrics
