"""Peers that are servers: each is started on a free port of loopback, and ends with this process whatever happens."""

import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse


def die_with_parent():
    """Runs in the child: the kernel kills it when its parent is gone (Linux)."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (AttributeError, OSError):
        pass


def stored(path):
    """The bytes that a file takes on disk, which is less than its size where it has holes."""
    s = os.stat(path)
    return min(s.st_size, s.st_blocks * 512)


class Server:
    """A server process and a connection to its HTTP port."""

    def __init__(self, folder):
        self.folder, self.process, self.used = folder, None, 0

    def start(self, command, env, ready):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        os.makedirs(self.folder, exist_ok=True)
        self.log = open(self.folder.rstrip("/") + ".log", "ab")
        fill = lambda text: text.replace("{port}", str(self.port))
        self.process = subprocess.Popen(
            [fill(c) for c in command],
            env={**os.environ, **{k: fill(v) for k, v in env.items()}},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=die_with_parent,
        )
        self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.get(ready)
                return
            except (OSError, http.client.HTTPException):
                self.http.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the server does not start: " + self.last_words())
                time.sleep(0.005)

    def last_words(self):
        with open(self.log.name, "rb") as f:
            return f.read()[-300:].decode(errors="replace")

    def request(self, method, path, body=None, headers={}):
        self.http.request(method, path, body, headers)
        r = self.http.getresponse()
        data = r.read()
        if r.status >= 300:
            raise RuntimeError(f"{path[:60]}: {r.status}: {data[-300:].decode(errors='replace')}")
        return data

    def get(self, path):
        return self.request("GET", path)

    def cpu(self):
        """User and system time of all servers that this object has started, seconds."""
        if self.process is None:
            return self.used
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return self.used + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.process is None:
            return
        self.used = self.cpu()
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.log.close()


class Questdb(Server):
    logs = False  # rows in its log are applied at once: none can be left there

    def __init__(self, spec):
        super().__init__(spec["dir"])
        self.spec = spec

    def open(self):
        chunks = self.spec.get("chunks") or ["/tmp/x"]
        off = {f"QDB_{name}_ENABLED": "false" for name in ("PG", "LINE_TCP", "HTTP_MIN", "TELEMETRY", "METRICS")}
        self.start(
            # what its start script gives the JVM
            ["java", "-XX:+UseParallelGC", "-XX:+UnlockExperimentalVMOptions", "-p", self.spec["program"], "-m",
             "io.questdb/io.questdb.ServerMain", "-d", self.folder],
            {**off, "QDB_HTTP_NET_BIND_TO": "127.0.0.1:{port}", "QDB_HTTP_BIND_TO": "127.0.0.1:{port}",
             # an insert is on disk when it is acknowledged, as in the other systems
             "QDB_CAIRO_COMMIT_MODE": "sync", "QDB_CAIRO_SQL_COPY_ROOT": os.path.dirname(chunks[0]),
             "QDB_QUERY_TIMEOUT": "600s", "QDB_QUERY_TIMEOUT_SEC": "600"},
            "/exec?query=SELECT+1",
        )

    def close(self):
        self.stop()

    def run(self, sql):
        if self.process is None:
            self.open()
        return json.loads(self.get("/exec?" + urllib.parse.urlencode({"query": sql}))).get("dataset", [])

    def create(self, keep_log):
        for sql in self.spec["create"]:
            self.run(sql)

    def stage(self, i, path):
        self.run(f"CREATE TABLE src_{i} AS (SELECT * FROM read_parquet('{os.path.basename(path)}'))")

    def insert(self, i, shift, flip):
        table, columns = self.spec["table"], ", ".join(self.spec["columns"])
        later = again(self.spec, f"dateadd('s', {shift // 10**9}, {{c}})", f"{{c}} ^ {flip}", shift)
        self.run(f"INSERT INTO {table} ({columns}) SELECT {later} FROM src_{i}")

    def unstage(self, i):
        self.run(f"DROP TABLE src_{i}")

    def flush(self):
        deadline = time.monotonic() + 600
        while True:
            name = self.spec["table"]
            row = self.run(f"SELECT writerTxn, sequencerTxn, suspended FROM wal_tables() WHERE name = '{name}'")[0]
            if row[2]:
                raise RuntimeError("the server has suspended the table")
            if row[0] == row[1]:
                return
            if time.monotonic() > deadline:
                raise RuntimeError("the log is not applied after ten minutes")
            time.sleep(0.01)

    def merge(self):
        self.flush()

    def disk(self):
        self.stop()  # files of columns are made in pages of 16 MiB and cut when they are closed
        at = os.path.join(self.folder, "db")
        # the log of what is applied is removed later on; it holds no row that the table does not
        wal = re.compile(r"/(wal\d+|txn_seq)/")
        total = 0
        for name in os.listdir(at):
            if name.startswith(self.spec["table"] + "~") or name == self.spec["table"]:
                total += sum(stored(path) for path in files(os.path.join(at, name)) if not wal.search(path))
        return total

    def ask(self, sql):
        return "\n".join("|".join("" if v is None else str(v) for v in row) for row in self.run(sql))


class Victoriametrics(Server):
    logs = False  # it has none

    def __init__(self, spec):
        super().__init__(spec["dir"])
        self.spec, self.bodies = spec, {}

    def open(self):
        self.start(
            [self.spec["program"], "-storageDataPath=" + self.folder, "-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y"],
            {},
            "/health",
        )

    def close(self):
        self.stop()

    def create(self, keep_log):
        pass

    def stage(self, i, path):
        with open(path, "rb") as f:
            self.bodies[i] = f.read()

    def insert(self, i, shift, flip):
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        self.request("POST", "/api/v1/write", self.bodies[i], headers)

    def unstage(self, i):
        del self.bodies[i]

    def flush(self):
        self.get("/internal/force_flush")

    def metric(self, pattern):
        text = self.get("/metrics").decode()
        return sum(float(v) for v in re.findall(rf"^{pattern} (\S+)$", text, re.M))

    def merge(self):
        self.flush()
        self.get("/internal/force_merge")
        deadline, quiet = time.monotonic() + 300, 0
        while quiet < 3:  # it begins in the background
            time.sleep(0.2)
            busy = self.metric("vm_active_force_merges") + self.metric(r'vm_active_merges{type="storage/[^"]*"}')
            quiet = 0 if busy else quiet + 1
            if time.monotonic() > deadline:
                raise RuntimeError("merging does not end")

    def disk(self):
        return sum(map(stored, files(self.folder)))

    def ask(self, sql):
        if not sql.startswith("SELECT count(*) FROM "):
            raise RuntimeError("no SQL is spoken here: " + sql)
        self.flush()
        return str(int(self.metric(r'vm_rows{type="storage/[^"]*"}')))
