// Many sessions without a PostgreSQL that could hold them: a server that answers each query with
// one row, and a load of idle and active sessions, each a process of its own, for
// tests/bench/scale.py.
//   bench_scale serve PORT
//   bench_scale load PORT IDLE ACTIVE PAUSE_MS SECONDS ROUNDS     prints percentiles of the active
//   ones' round trips in µs, a line a round; each round begins with a second that does not count
#include "tests/unit/protocol/wire.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace asio = boost::asio;
namespace wire = pgleash::protocol::wire;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

const std::string answer = wire::message('T', std::string(30, 'x')) +
                           wire::message('D', "0123456789") + wire::complete("SELECT 1") +
                           wire::ready();

/// A backend: one login, then one answer a query. Queries are small and come one at a time.
class Backend : public std::enable_shared_from_this<Backend> {
 public:
  explicit Backend(tcp::socket socket) : socket_(std::move(socket)) {}
  void start() { read(); }

 private:
  void read() {
    socket_.async_read_some(asio::buffer(bytes_),
                            [self = shared_from_this()](error_code error, std::size_t size) {
                              if (!error) self->reply(size);
                            });
  }
  void reply(std::size_t size) {
    const bool first = !std::exchange(up_, true);
    if (size > 0 && !first && bytes_[0] == 'X') return;
    asio::async_write(socket_, asio::buffer(first ? login() : answer),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (!error) self->read();
                      });
  }
  static const std::string& login() {
    static const std::string text = wire::login();
    return text;
  }

  tcp::socket socket_;
  std::array<char, 1024> bytes_{};
  bool up_ = false;
};

void serve(std::uint16_t port) {
  asio::io_context context{1};
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), port}};
  acceptor.listen(4096);
  std::function<void()> accept = [&] {
    acceptor.async_accept([&](error_code error, tcp::socket socket) {
      if (!error) {
        socket.set_option(tcp::no_delay{true});
        std::make_shared<Backend>(std::move(socket))->start();
      }
      accept();
    });
  };
  accept();
  context.run();
}

struct Load {
  asio::io_context context{1};
  std::chrono::milliseconds pause{};
  std::vector<double> microseconds;
  bool measuring = false;
  unsigned failed = 0;
};

class Client : public std::enable_shared_from_this<Client> {
 public:
  explicit Client(Load& load) : load_(load), socket_(load.context), timer_(load.context) {}

  void login(std::uint16_t port, const std::string& application) {
    socket_.connect({asio::ip::address_v4::loopback(), port});
    socket_.set_option(tcp::no_delay{true});
    const std::string body = wire::int32(196608) + wire::zero_ended("user") +
                             wire::zero_ended("app") + wire::zero_ended("application_name") +
                             wire::zero_ended(application) + '\0';
    asio::write(socket_, asio::buffer(wire::untyped(body)));
    read_ready();
  }
  void run(std::chrono::milliseconds first) {
    timer_.expires_after(first);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->ask();
    });
  }

 private:
  void read_ready() {
    std::size_t have = 0;
    const std::string end = wire::ready();
    do {
      have += socket_.read_some(asio::buffer(bytes_.data() + have, bytes_.size() - have));
    } while (have < end.size() ||
             std::string_view{bytes_.data() + have - end.size(), end.size()} != end);
  }
  void ask() {
    asked_ = Clock::now();
    asio::async_write(socket_, asio::buffer(query_),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->lost();
                        self->hear();
                      });
  }
  void hear() {
    asio::async_read(socket_, asio::buffer(bytes_.data(), answer.size()),
                     [self = shared_from_this()](error_code error, std::size_t) {
                       if (error) return self->lost();
                       const std::chrono::duration<double, std::micro> took =
                           Clock::now() - self->asked_;
                       if (self->load_.measuring) self->load_.microseconds.push_back(took.count());
                       self->run(self->load_.pause);
                     });
  }
  void lost() { ++load_.failed; }

  Load& load_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  std::array<char, 1024> bytes_{};
  std::string query_ = wire::query("SELECT abalance FROM accounts WHERE aid = 1");
  Clock::time_point asked_;
};

void print_percentiles(Load& load) {
  auto& all = load.microseconds;
  std::sort(all.begin(), all.end());
  const auto at = [&](double share) {
    return all.empty() ? 0.0 : all[static_cast<std::size_t>(share * double(all.size() - 1))];
  };
  std::printf("{\"count\": %zu, \"failed\": %u, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f}\n",
              all.size(), load.failed, at(0.5), at(0.99), at(0.999));
  std::fflush(stdout);
  all.clear();
}

int load(std::uint16_t port, int idle, int active, int pause_ms, int seconds, int rounds) {
  Load load;
  load.pause = std::chrono::milliseconds{pause_ms};
  std::vector<std::shared_ptr<Client>> clients;
  for (int i = 0; i < idle + active; ++i) {
    clients.push_back(std::make_shared<Client>(load));
    clients.back()->login(port, "app-" + std::to_string(i % 20));
    if (i % 500 == 499) std::fprintf(stderr, "%d sessions\n", i + 1);
  }
  std::puts("up");
  std::fflush(stdout);
  for (int i = 0; i < active; ++i)
    clients[static_cast<std::size_t>(idle + i)]->run(
        std::chrono::milliseconds{i * pause_ms / std::max(active, 1)});
  const auto idle_ones_stay = asio::make_work_guard(load.context);
  for (int round = 0; round < rounds; ++round) {
    load.context.run_for(std::chrono::seconds{1});
    load.measuring = true;
    load.context.run_for(std::chrono::seconds{seconds});
    load.measuring = false;
    print_percentiles(load);
  }
  return load.failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i) { return std::atoi(argv[i]); };
  if (argc == 3 && std::string_view{argv[1]} == "serve") {
    serve(static_cast<std::uint16_t>(number(2)));
    return 0;
  }
  if (argc == 8 && std::string_view{argv[1]} == "load")
    return load(static_cast<std::uint16_t>(number(2)), number(3), number(4), number(5), number(6),
                number(7));
  std::fprintf(stderr, "bench_scale serve PORT | load PORT IDLE ACTIVE PAUSE_MS SECONDS ROUNDS\n");
  return 2;
}
