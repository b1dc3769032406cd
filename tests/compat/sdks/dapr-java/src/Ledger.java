package compat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** What really ran: files in COMPAT_LEDGER, one line for each run. */
final class Ledger {
  private static final long GATE_MILLISECONDS = 60_000;

  private Ledger() {}

  static void append(String name, String line) {
    try {
      Files.writeString(
          file(name), line + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND, StandardOpenOption.DSYNC);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  static boolean exists(String name) {
    return Files.exists(file(name));
  }

  static int count(String name) {
    try {
      return exists(name) ? Files.readAllLines(file(name)).size() : 0;
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Blocks at its first visit, where the process is killed, and is open at every later one. */
  static void gate(String name) {
    if (exists(name)) {
      return;
    }
    append(name, "begun");
    try {
      Thread.sleep(GATE_MILLISECONDS);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }

  private static Path file(String name) {
    return Path.of(System.getenv("COMPAT_LEDGER"), name);
  }
}
