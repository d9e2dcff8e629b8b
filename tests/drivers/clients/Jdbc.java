import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.Arrays;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** The JDBC driver: extended protocol with Describe and batches in one flight, portals by fetch size, named statements after
 *  five uses, COPY, cancel by query timeout, LISTEN, large objects, and its simple-protocol mode. */
public class Jdbc {
  static Connection connect(String... settings) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", System.getenv("PGUSER"));
    properties.setProperty("password", System.getenv("PGPASSWORD"));
    for (int i = 0; i + 1 < settings.length; i += 2) properties.setProperty(settings[i], settings[i + 1]);
    return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
        + System.getenv("PGDATABASE"), properties);
  }

  static void section(String name) { System.out.println("== " + name); }

  static String told(SQLException error) {
    return error.getClass().getSimpleName() + " " + error.getSQLState() + " " + error.getMessage().lines().findFirst().orElse("");
  }

  static String md5(byte[] bytes) throws Exception {
    StringBuilder hex = new StringBuilder();
    for (byte b : MessageDigest.getInstance("MD5").digest(bytes)) hex.append(String.format("%02x", b));
    return hex.toString();
  }

  static String one(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
      r.next();
      return r.getString(1);
    }
  }

  static void statements(Connection c) throws Exception {
    section("types");
    try (PreparedStatement s = c.prepareStatement("select ?::int, ?::text, ?::numeric, ?::timestamptz, ?::bytea, ?::int[], ?::float8, ?::bool")) {
      for (int use = 0; use < 8; use++) {  // a named statement and binary results from the fifth use on
        s.setInt(1, use);
        s.setString(2, "żółw");
        s.setBigDecimal(3, new java.math.BigDecimal("12.50"));
        s.setObject(4, java.time.OffsetDateTime.parse("2024-02-29T12:00:00Z"));
        s.setBytes(5, new byte[] {0, -1});
        s.setArray(6, c.createArrayOf("int", new Integer[] {1, null, 3}));
        s.setDouble(7, 0.1);
        s.setBoolean(8, true);
        try (ResultSet r = s.executeQuery()) {
          r.next();
          System.out.println(r.getInt(1) + " " + r.getString(2) + " " + r.getBigDecimal(3) + " "
              + r.getObject(4, java.time.OffsetDateTime.class).toInstant() + " " + Arrays.toString(r.getBytes(5)) + " "
              + r.getArray(6) + " " + r.getDouble(7) + " " + r.getBoolean(8));
        }
      }
    }
    section("several statements, generated keys, an update count each");
    try (Statement s = c.createStatement()) {
      s.execute("create table t (id serial primary key, v text)");
      boolean rows = s.execute("insert into t (v) values ('a'), ('b'); select count(*) from t; delete from t where v = 'b'");
      for (; rows || s.getUpdateCount() != -1; rows = s.getMoreResults()) System.out.println(rows + " " + s.getUpdateCount());
      s.executeUpdate("insert into t (v) values ('k1'), ('k2')", Statement.RETURN_GENERATED_KEYS);
      for (ResultSet r = s.getGeneratedKeys(); r.next();) System.out.println("key " + r.getInt("id"));
      s.execute("create function twice(int) returns int language sql as 'select $1 * 2'");
      s.execute("do $$ begin raise notice 'noticed'; end $$");
      System.out.println(s.getWarnings().getSQLState() + " " + s.getWarnings().getMessage());
    }
    try (CallableStatement s = c.prepareCall("{? = call twice(?)}")) {
      s.registerOutParameter(1, Types.INTEGER);
      s.setInt(2, 21);
      s.execute();
      System.out.println(s.getInt(1));
    }
  }

  static void batches(Connection c) throws Exception {
    section("batches");
    c.setAutoCommit(false);
    try (PreparedStatement s = c.prepareStatement("insert into t (id, v) values (?, ?)")) {
      for (int n = 0; n < 5000; n++) {
        s.setInt(1, 1000 + n);
        s.setString(2, "batch " + n);
        s.addBatch();
      }
      System.out.println(Arrays.stream(s.executeBatch()).map(i -> i > 0 || i == Statement.SUCCESS_NO_INFO ? 1 : 0).sum());
      c.commit();
      for (int n = 4990; n < 5010; n++) {
        s.setInt(1, 1000 + n);
        s.setString(2, "again");
        s.addBatch();
      }
      try {
        s.executeBatch();
      } catch (BatchUpdateException error) {
        System.out.println(told(error));
        System.out.println(told(error.getNextException()));
      }
      c.rollback();
    }
    try (Statement s = c.createStatement()) {
      s.addBatch("update t set v = 'x' where id < 10");
      s.addBatch("insert into t (id, v) values (90000, 'y')");
      s.addBatch("delete from t where id = 90000");
      System.out.println(Arrays.toString(s.executeBatch()));
      c.commit();
    }
    System.out.println(one(c, "select count(*) || ' ' || md5(string_agg(v, ',' order by id)) from t"));
    c.commit();
  }

  static void portals(Connection c) throws Exception {
    section("rows by fetch size");
    long sum = 0;
    try (PreparedStatement s = c.prepareStatement("select n, repeat('x', 200) from generate_series(1, ?) n")) {
      s.setFetchSize(300);
      s.setInt(1, 10000);
      try (ResultSet r = s.executeQuery()) {
        while (r.next()) sum += r.getInt(1) + r.getString(2).length();
      }
      System.out.println(sum);
      try (ResultSet r = s.executeQuery()) {  // left with rows in the portal
        r.next();
        System.out.println(r.getInt(1));
      }
    }
    c.commit();
    try (Statement s = c.createStatement()) {
      s.setMaxRows(7);
      ResultSet r = s.executeQuery("select * from generate_series(1, 1000000)");
      int rows = 0;
      while (r.next()) rows++;
      System.out.println(rows);
    }
    c.commit();
  }

  static void errors(Connection c) throws Exception {
    section("errors and savepoints");
    Savepoint savepoint = c.setSavepoint("here");
    for (String sql : new String[] {"select 1/0", "select 1", "select nothing"}) {
      try (Statement s = c.createStatement()) {
        s.execute(sql);
      } catch (SQLException error) {
        System.out.println(told(error));
      }
    }
    c.rollback(savepoint);
    System.out.println(one(c, "select 'usable'"));
    c.commit();
    try (Connection always = connect("autosave", "always")) {
      always.setAutoCommit(false);
      for (String sql : new String[] {"select 1/0", "select nothing", "select 'autosave rolled back to its savepoint'"}) {
        try {
          System.out.println(one(always, sql));
        } catch (SQLException error) {
          System.out.println(told(error));
        }
      }
    }
  }

  static void copies(Connection c) throws Exception {
    section("copy");
    CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder rows = new StringBuilder();
    for (int n = 100000; n < 150000; n++) rows.append(n).append("\tline ").append(n).append('\n');
    System.out.println(copy.copyIn("copy t from stdin", new ByteArrayInputStream(rows.toString().getBytes(StandardCharsets.UTF_8))));
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    System.out.println(copy.copyOut("copy (select * from t order by id) to stdout", out));
    System.out.println(md5(out.toByteArray()));
    c.commit();
    try {
      copy.copyIn("copy t from stdin", new StringReader("200000\tgood\nbad\tline\n"));
    } catch (SQLException error) {
      System.out.println(told(error));
    }
    c.rollback();
    var in = copy.copyIn("copy t from stdin");
    in.writeToCopy("200000\tgood\n".getBytes(), 0, 12);
    in.cancelCopy();
    c.rollback();
    System.out.println(one(c, "select count(*) from t where id >= 200000"));
    c.commit();
  }

  static void cancels(Connection c) throws Exception {
    section("query timeout");
    try (Statement s = c.createStatement()) {
      s.setQueryTimeout(1);
      s.execute("select pg_sleep(60)");
    } catch (SQLException error) {
      System.out.println(told(error));
    }
    c.rollback();
    System.out.println(one(c, "select 'the same session goes on'"));
    c.commit();
  }

  static void notifications(Connection c) throws Exception {
    section("notifications");
    try (Connection listener = connect()) {
      one(listener, "select 1");
      try (Statement s = listener.createStatement()) {
        s.execute("listen news");
      }
      try (Statement s = c.createStatement()) {
        s.execute("notify news, 'one'");
        s.execute("select pg_notify('news', 'two')");
      }
      c.commit();
      for (int heard = 0; heard < 2;) {
        PGNotification[] notifications = listener.unwrap(PGConnection.class).getNotifications(20000);
        if (notifications == null || notifications.length == 0) throw new IllegalStateException("no notification within 20 s");
        for (PGNotification n : notifications) {
          System.out.println(n.getName() + " " + n.getParameter());
          heard++;
        }
      }
    }
  }

  static void largeObjects(Connection c) throws Exception {
    section("large objects and a value of 20 MB");
    LargeObjectManager manager = c.unwrap(PGConnection.class).getLargeObjectAPI();
    long oid = manager.createLO(LargeObjectManager.READ | LargeObjectManager.WRITE);
    byte[] bytes = new byte[300_000];
    for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) (i * 31);
    try (LargeObject large = manager.open(oid, LargeObjectManager.WRITE)) {
      for (int at = 0; at < bytes.length; at += 1000) large.write(bytes, at, 1000);
    }
    try (LargeObject large = manager.open(oid, LargeObjectManager.READ)) {
      large.seek(100_000);
      System.out.println(md5(large.read(150_000)) + " " + large.size());
    }
    manager.unlink(oid);
    c.commit();
    try (PreparedStatement s = c.prepareStatement("select ?::text || ?::text")) {
      s.setString(1, "0123456789".repeat(1_000_000));
      s.setString(2, "abcdefghij".repeat(1_000_000));
      try (ResultSet r = s.executeQuery()) {
        r.next();
        System.out.println(md5(r.getString(1).getBytes(StandardCharsets.UTF_8)));
      }
    }
    c.commit();
  }

  static void modes() throws Exception {
    section("other modes of the driver");
    for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"}) {
      try (Connection c = connect("preferQueryMode", mode, "reWriteBatchedInserts", "true", "prepareThreshold", "1")) {
        try (Statement s = c.createStatement()) {
          s.execute("create temp table m (n int, v text)");
        }
        try (PreparedStatement s = c.prepareStatement("insert into m values (?, ?)")) {
          for (int n = 0; n < 1000; n++) {
            s.setInt(1, n);
            s.setString(2, "v'" + n);
            s.addBatch();
          }
          s.executeBatch();
        }
        System.out.println(mode + " " + one(c, "select count(*) || ' ' || md5(string_agg(v, ',' order by n)) from m"));
      }
    }
    try (Connection c = connect("readOnly", "true", "ApplicationName", "named")) {
      System.out.println(one(c, "show application_name") + " " + c.isValid(5));
      c.setAutoCommit(false);
      one(c, "create table never (n int)");
    } catch (SQLException error) {
      System.out.println(told(error));
    }
    for (String[] wrong : new String[][] {{"password", "wrong"}, {"sslmode", "require"}, {"options", "-c no_such_setting=1"}}) {
      try (Connection c = connect(wrong)) {
        System.out.println("connected with " + wrong[0]);
      } catch (SQLException error) {
        System.out.println(told(error));
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    try (Connection c = connect("ApplicationName", "jdbc")) {
      statements(c);
      batches(c);
      portals(c);
      errors(c);
      copies(c);
      cancels(c);
      notifications(c);
      largeObjects(c);
    }
    modes();
    System.out.println("done");
  }
}
