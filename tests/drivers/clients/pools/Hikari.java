import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** HikariCP over the JDBC driver: two idle ones at least, its shortest idleTimeout and maxLifetime. Arguments and output as in
 *  shop.py. */
public class Hikari {
  static final String GOOD = "select relname from pg_class where oid = 4711 /*controller='orders',route='%2Forders'*/";
  static final String BAD = "select nspname from pg_namespace where oid = 4711 /*controller='refunds',route='%2Frefunds'*/";
  static final CountDownLatch stop = new CountDownLatch(1);
  static final AtomicInteger requests = new AtomicInteger();
  static final AtomicInteger lost = new AtomicInteger();
  static HikariDataSource pool;

  interface Work { void run() throws Exception; }

  static boolean stopsWithin(double seconds) throws InterruptedException {
    return stop.await((long) (1000 * seconds), TimeUnit.MILLISECONDS);
  }

  static void ask(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) { statement.executeQuery(sql).next(); }
  }

  static void serve() throws SQLException {
    try (Connection connection = pool.getConnection()) { ask(connection, GOOD); }
  }

  static Thread start(Work work) {
    Thread thread = new Thread(() -> {
      try {
        work.run();
      } catch (Exception failure) {
        failure.printStackTrace(System.out);
        Runtime.getRuntime().halt(1);
      }
    });
    thread.start();
    return thread;
  }

  public static void main(String[] arguments) throws Exception {
    double day = Double.parseDouble(arguments[1]);
    double leakEvery = Double.parseDouble(arguments[2]);
    double leakAfter = Double.parseDouble(arguments[3]);
    System.setProperty("com.zaxxer.hikari.housekeeping.periodMs", "1000");
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"));
    config.setUsername(System.getenv("PGUSER"));
    config.setPassword(System.getenv("PGPASSWORD"));
    config.addDataSourceProperty("ApplicationName", arguments[0]);
    config.setMinimumIdle(2);
    config.setMaximumPoolSize(60);
    config.setIdleTimeout(10_000);
    config.setMaxLifetime(30_000);
    pool = new HikariDataSource(config);
    serve();
    System.out.println("open");
    long started = System.nanoTime();
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      int number = i;
      threads.add(start(() -> {
        while (!stopsWithin(0.1)) {
          double load = 0.5 - 0.5 * Math.cos(2 * Math.PI * (System.nanoTime() - started) / 1e9 / day);
          if (number > 7 * load) continue;
          serve();
          requests.incrementAndGet();
        }
      }));
    }
    if (leakEvery > 0) {
      threads.add(start(() -> {
        if (stopsWithin(leakAfter)) return;
        while (!stopsWithin(leakEvery) && lost.get() < 40) {
          ask(pool.getConnection(), BAD);  // and an error path that forgets to close
          lost.incrementAndGet();
        }
      }));
    }
    System.in.readAllBytes();
    stop.countDown();
    for (Thread thread : threads) thread.join();
    System.out.println(requests + " requests, " + lost + " lost");
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}
