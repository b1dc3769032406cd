"""Builds servers that speak MongoDB's protocol, for the suite `mongo`: FerretDB from its Go module, and
mongo-java-server from Maven. Needs Go, or Java and Maven.

    python scripts/mongo.py DIRECTORY

What is there already stays as it is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FERRETDB = "v1.24.2"
"""The last of the versions that keep their collections themselves; later ones need an extension of PostgreSQL."""
JAVA_SERVER = "1.47.0"
MODULE = "github.com/FerretDB/FerretDB"

MAIN = """
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;
import java.util.List;

/** It calls itself 5.0 and knows `hello`, because today's drivers ask for both. */
public class Main extends MemoryBackend {
  @Override public Document handleCommand(Channel channel, String database, String command, Document query) {
    if (!command.equals("hello")) return super.handleCommand(channel, database, command, query);
    Document asked = new Document("isMaster", 1);
    asked.put("$db", "admin");
    Document told = super.handleCommand(channel, database, "isMaster", asked);
    told.put("isWritablePrimary", true);
    return told;
  }

  public static void main(String[] arguments) throws Exception {
    MongoServer server = new MongoServer(new Main().version(new MongoVersion() {
      public List<Integer> getVersionArray() { return List.of(5, 0, 0); }
      public int getWireVersion() { return 13; }
      public String toVersionString() { return "5.0.0"; }
    }));
    server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    Thread.sleep(Long.MAX_VALUE);
  }
}
"""

POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>perdure</groupId><artifactId>servers</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>de.bwaldvogel</groupId><artifactId>mongo-java-server</artifactId><version>{JAVA_SERVER}</version>
    </dependency>
  </dependencies>
</project>
"""


def main(arguments: list[str]) -> int:
    """Build both. Exit code 1 if one cannot be built, 2 for usage."""
    if len(arguments) != 1:
        print("usage: mongo.py DIRECTORY", file=sys.stderr)
        return 2
    directory = Path(arguments[0]).resolve()
    missing = [program for program in ("go", "java", "javac", "mvn") if shutil.which(program) is None]
    if missing:
        print(f"{', '.join(missing)} is missing; install Go, a JDK and Maven", file=sys.stderr)
        return 1
    _build_ferretdb(directory / "ferretdb")
    _build_java_server(directory / "java")
    return 0


def _build_ferretdb(directory: Path) -> None:
    """Its sources want to be told their version, which a release writes into them."""
    if (directory / "ferretdb").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "go.mod").write_text("module servers\n\ngo 1.24\n")
    _run("go", "get", f"{MODULE}/cmd/ferretdb@{FERRETDB}", where=directory)
    module = _run("go", "list", "-m", "-f", "{{.Dir}}", MODULE, where=directory)
    sources = directory / "src"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(module, sources)
    for folder, _, _ in os.walk(sources):
        Path(folder).chmod(0o755)
    for name, text in (("version", FERRETDB), ("commit", "unknown"), ("branch", "unknown"), ("package", "unknown")):
        (sources / "build" / "version" / f"{name}.txt").write_text(text + "\n")
    _run("go", "build", "-tags", "ferretdb_sqlite", "-o", str(directory / "ferretdb"), "./cmd/ferretdb", where=sources)
    shutil.rmtree(sources)


def _build_java_server(directory: Path) -> None:
    if (directory / "Main.class").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pom.xml").write_text(POM)
    (directory / "Main.java").write_text(MAIN)
    _run("mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib", where=directory)
    _run("javac", "-cp", "lib/*", "Main.java", where=directory)


def _run(*command: str, where: Path) -> str:
    """What it printed. A failure ends the script with what it said."""
    done = subprocess.run(command, check=False, cwd=where, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
