/// Measures the leak detector on simulated weeks: recall, false alarms, delay and forecast, beside
/// what people have without one. Usage: pgleash_leak_quality [--weeks N] [--leaks N]
/// [--seeds tuning|reporting] [--detail]; prints Markdown. Nothing may be tuned on the reporting
/// seeds.
/// --detail tells each false alarm, miss, late alarm and forecast by its seed, and leaves the
/// baselines out.
#include "tests/sim/run.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace pgleash::sim;

constexpr std::uint64_t tuning_seeds = 1'000'000;
constexpr std::uint64_t reporting_seeds = 900'000'000;
/// A server that fills up with fewer lost sessions than this share of its slots was filled by load.
constexpr double least_lost = 0.1;

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(std::lround(position))];
}

/// One-sided 95 % bound of a Poisson rate (Wilson and Hilferty).
double upper_bound(double events) {
  const double n = events + 1;
  return n * std::pow(1 - 1 / (9 * n) + 1.645 / (3 * std::sqrt(n)), 3);
}

struct Alarmed {
  double alarms = 0;
  int detected = 0;
  std::vector<double> shares;
  void detection(std::optional<double> share) {
    if (!share) return;
    ++detected;
    shares.push_back(*share);
  }
  [[nodiscard]] int before_half() const {
    return static_cast<int>(
        std::count_if(shares.begin(), shares.end(), [](double share) { return share < 0.5; }));
  }
};

struct ByKind {
  int full = 0;
  int not_full = 0;
  Alarmed ours;
  double right = 0;
};

struct Errors {
  std::vector<double> enough;  ///< where 25 or more sessions were still to be lost
  std::vector<double> all;
  void add(const std::optional<ForecastError>& one) {
    if (!one) return;
    all.push_back(std::abs(one->error));
    if (one->to_come >= 25) enough.push_back(std::abs(one->error));
  }
  static void print(const char* what, const std::vector<double>& errors, double goal) {
    const auto met =
        std::count_if(errors.begin(), errors.end(), [&](double e) { return e < goal; });
    std::printf(
        "| %s | %zu | %.0f %% | %.0f %% | %.0f %% | %.0f %% of them under %.0f %% |\n", what,
        errors.size(), 100 * quantile(errors, 0.5), 100 * quantile(errors, 0.75),
        100 * quantile(errors, 0.9),
        100 * static_cast<double>(met) / std::max<double>(1, static_cast<double>(errors.size())),
        100 * goal);
  }
};

void print_alarms(const Scene& scene, std::uint64_t seed, const Run& one) {
  for (const FalseAlarm& alarm : one.alarms)
    std::printf(
        "false alarm: %s, seed %llu, limit %u: after %.2f days, window %.0f s, growth %.1f, "
        "suspects %u of %u sessions, used %u\n",
        scene.application.what.c_str(), static_cast<unsigned long long>(seed), scene.limit,
        alarm.when / day, seconds(alarm.leak.window), alarm.leak.growth, alarm.leak.suspect_count,
        alarm.leak.sessions, alarm.used);
}

void print_leak(const Scene& scene, std::uint64_t seed, const Run& one) {
  const double share =
      one.detected ? static_cast<double>(one.lost_at_alarm) / one.lost_when_full : 1;
  std::printf("leak: %s in %s, seed %llu, limit %u: lost %d in %.2f h, alarm at %.0f %% by %.0f s",
              name(scene.application.leak), scene.application.what.c_str(),
              static_cast<unsigned long long>(seed), scene.limit, one.lost_when_full,
              (*one.full - scene.application.leak_starts) / hour, 100 * share, one.window);
  for (const auto& [what, error] : {std::pair{"hour", one.hour_error}, {"day", one.day_error}})
    if (error) std::printf(", %s %+.0f %% (%d to come)", what, 100 * error->error, error->to_come);
  std::printf("%s\n", !one.detected ? " MISSED" : share >= 0.5 ? " LATE" : "");
}

/// All scenes, on all cores; what came of them in their order.
template <class MakeScene>
std::vector<Run> run_all(int count, const MakeScene& scene, bool with_baselines) {
  std::vector<Run> runs(static_cast<std::size_t>(std::max(0, count)));
  std::atomic<std::size_t> next{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
      threads.emplace_back([&] {
        for (std::size_t at = next++; at < runs.size(); at = next++)
          runs[at] = run(scene(static_cast<int>(at)), with_baselines);
      });
    }
  }
  return runs;
}

class Report {
 public:
  explicit Report(bool detail) : detail_(detail) {}

  void healthy(int weeks, std::uint64_t seeds) {
    const auto seed_of = [&](int i) { return seeds + static_cast<std::uint64_t>(i); };
    const auto scene_of = [&](int i) {
      return healthy_scene(i % healthy_kinds, seed_of(i), i / healthy_kinds % 4 == 3 ? 1997U : 97U);
    };
    const std::vector<Run> runs = run_all(weeks, scene_of, !detail_);
    for (int i = 0; i < weeks; ++i) {
      const int kind = i % healthy_kinds;
      const Scene scene = scene_of(i);
      const Run& one = runs[static_cast<std::size_t>(i)];
      if (detail_) print_alarms(scene, seed_of(i), one);
      weeks_ += one.healthy_seconds / week;
      ours_.alarms += static_cast<double>(one.alarms.size());
      kinds_[static_cast<std::size_t>(kind)].first = scene.application.what;
      auto& counts = kinds_[static_cast<std::size_t>(kind)].second;
      ++counts.first;
      counts.second += static_cast<int>(one.alarms.size());
      for (std::size_t b = 0; b < baseline_count; ++b)
        baselines_[b].alarms += one.baseline_alarms[b];
    }
  }

  void leaking(int leaks, std::uint64_t seeds) {
    const auto seed_of = [&](int i) { return seeds + 500'000 + static_cast<std::uint64_t>(i); };
    const auto leak_of = [](int i) { return static_cast<LeakKind>(1 + i % (leak_kinds - 1)); };
    const auto big_of = [](int i) { return i / (leak_kinds - 1) % 2 == 1 ? 1U : 0U; };
    const auto scene_of = [&](int i) {
      return leaking_scene(leak_of(i), seed_of(i), big_of(i) == 1 ? 1997U : 97U);
    };
    const std::vector<Run> runs = run_all(leaks, scene_of, !detail_);
    for (int i = 0; i < leaks; ++i) {
      const LeakKind leak = leak_of(i);
      const std::size_t big = big_of(i);
      const std::uint64_t seed = seed_of(i);
      const Scene scene = scene_of(i);
      const std::uint32_t limit = scene.limit;
      const Run& one = runs[static_cast<std::size_t>(i)];
      if (detail_) print_alarms(scene, seed, one);
      ByKind& kind = leaks_[static_cast<std::size_t>(leak)][big];
      early_ += static_cast<int>(one.alarms.size());
      before_ += one.healthy_seconds / week;
      if (!one.full || one.lost_when_full < least_lost * limit) {
        ++kind.not_full;
        not_full_detected_ += one.detected ? 1 : 0;
        continue;
      }
      ++kind.full;
      ++full_;
      if (detail_) print_leak(scene, seed, one);
      std::optional<double> share;
      if (one.detected)
        share = static_cast<double>(one.lost_at_alarm) / static_cast<double>(one.lost_when_full);
      kind.ours.detection(share);
      ours_.detection(share);
      if (one.detected) kind.right += one.suspects_right;
      for (std::size_t b = 0; b < baseline_count; ++b)
        baselines_[b].detection(one.baseline_share[b]);
      hour_.add(one.hour_error);
      day_.add(one.day_error);
    }
  }

  void print() const {
    std::printf("%.0f healthy application-weeks, %d leaks that took the last slot.\n\n", weeks_,
                full_);
    std::printf(
        "| | recall | alarm before half was gone | share used at the alarm: median, 95 %% | "
        "false alarms | per 1,000 application-weeks (95 %% bound) |\n|---|---|---|---|---|---|\n");
    row("**pgleash**", ours_);
    for (std::size_t b = 0; b < baseline_count; ++b)
      row(name(static_cast<Baseline>(b)), baselines_[b]);
    std::printf(
        "\nWhat was used is counted in lost sessions: those lost at the alarm over those "
        "lost when the last slot went.\n");

    std::printf(
        "\n| Leak | slots | leaks | found | before half | share used at the alarm: median, most | "
        "suspects that were lost ones |\n|---|---|---|---|---|---|---|\n");
    for (std::size_t kind = 1; kind < leaks_.size(); ++kind) {
      for (std::size_t big = 0; big < 2; ++big) {
        const ByKind& one = leaks_[kind][big];
        std::printf("| %s | %s | %d | %d | %d | %.0f %%, %.0f %% | %.0f %% |\n",
                    name(static_cast<LeakKind>(kind)), big ? "2,000" : "100", one.full,
                    one.ours.detected, one.ours.before_half(), 100 * quantile(one.ours.shares, 0.5),
                    100 * quantile(one.ours.shares, 1),
                    100 * one.right / std::max(1, one.ours.detected));
      }
    }
    int not_full = 0;
    for (const auto& kind : leaks_) not_full += kind[0].not_full + kind[1].not_full;
    std::printf(
        "\nOf %d more leaks that did not take the last slot within a week, or had lost less "
        "than a tenth of the slots when load took it, %d were named. Before the leaks began "
        "there were %d alarms in %.0f application-weeks.\n",
        not_full, not_full_detected_, early_, before_);

    std::printf("\n| Healthy application | weeks | false alarms |\n|---|---|---|\n");
    for (const auto& [what, counts] : kinds_)
      std::printf("| %s | %d | %d |\n", what.c_str(), counts.first, counts.second);

    std::printf(
        "\n| Forecast | forecasts | error: median | 75 %% | 90 %% | goal "
        "|\n|---|---|---|---|---|---|\n");
    Errors::print("an hour ahead, 25 sessions or more to be lost in it", hour_.enough, 0.2);
    Errors::print("an hour ahead, all", hour_.all, 0.2);
    Errors::print("a day ahead, 25 sessions or more to be lost in it", day_.enough, 0.3);
    Errors::print("a day ahead, all", day_.all, 0.3);
  }

 private:
  void row(const char* what, const Alarmed& one) const {
    std::printf("| %s | %.3f | %d of %d | %.0f %%, %.0f %% | %.0f | %.2f (%.2f) |\n", what,
                static_cast<double>(one.detected) / std::max(1, full_), one.before_half(), full_,
                100 * quantile(one.shares, 0.5), 100 * quantile(one.shares, 0.95), one.alarms,
                1000 * one.alarms / weeks_, 1000 * upper_bound(one.alarms) / weeks_);
  }

  bool detail_;
  double weeks_ = 0;
  double before_ = 0;
  int early_ = 0;
  int full_ = 0;
  int not_full_detected_ = 0;
  Alarmed ours_;
  std::array<Alarmed, baseline_count> baselines_{};
  std::array<std::array<ByKind, 2>, leak_kinds> leaks_{};
  std::array<std::pair<std::string, std::pair<int, int>>, healthy_kinds> kinds_{};
  Errors hour_;
  Errors day_;
};

}  // namespace

int main(int argc, char** argv) {
  int weeks = 3000;
  int leaks = 420;
  std::uint64_t seeds = reporting_seeds;
  bool detail = false;
  for (int i = 1; i < argc; ++i) {
    const bool has_value = i + 1 < argc;
    if (has_value && std::strcmp(argv[i], "--weeks") == 0) {
      weeks = std::atoi(argv[++i]);
    } else if (has_value && std::strcmp(argv[i], "--leaks") == 0) {
      leaks = std::atoi(argv[++i]);
    } else if (has_value && std::strcmp(argv[i], "--seeds") == 0) {
      seeds = std::strcmp(argv[++i], "tuning") == 0 ? tuning_seeds : reporting_seeds;
    } else if (std::strcmp(argv[i], "--detail") == 0) {
      detail = true;
    } else {
      std::fprintf(stderr,
                   "usage: %s [--weeks N] [--leaks N] [--seeds tuning|reporting] [--detail]\n",
                   argv[0]);
      return 2;
    }
  }
  Report report{detail};
  report.healthy(weeks, seeds);
  report.leaking(leaks, seeds);
  report.print();
}
