"""Puts a peer to one phase of a workload: the argument is a spec (bench/workload.Spec) in JSON, what is printed an outcome."""

import json
import os
import resource
import sys
import time


def files(folder):
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def evict(folder):
    """Has the kernel forget what it cached of the files in folder."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files(folder):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def again(spec, later, other, cycle):
    """The columns of a row of the pool that comes again: times are later, ids are others."""
    out = []
    for c in spec["columns"]:
        form = later if c in spec["times"] else other if c in spec.get("ids", []) else "{c}"
        out.append(form.format(c=c) if cycle else c)
    return ", ".join(out)


class Chdb:
    logs = False  # an insert makes a part at once: there is no log to leave rows in

    def __init__(self, spec):
        self.spec = spec

    def open(self):
        from chdb import session

        self.session = session.Session(self.spec["dir"])
        self.run("CREATE DATABASE IF NOT EXISTS bench")
        self.run("USE bench")

    def close(self):
        self.session.close()

    def run(self, sql):
        return str(self.session.query(sql, "TabSeparatedRaw"))

    def create(self, keep_log):
        for sql in self.spec["create"]:
            self.run(sql)

    def stage(self, i, path):
        table, columns = self.spec["table"], ", ".join(self.spec["columns"])
        self.run(f"CREATE TABLE src_{i} AS {table} ENGINE = Memory")
        self.run(f"INSERT INTO src_{i} ({columns}) SELECT {columns} FROM file('{path}', Parquet)")

    def insert(self, i, shift, flip):
        table, columns = self.spec["table"], ", ".join(self.spec["columns"])
        later = again(self.spec, f"addNanoseconds({{c}}, {shift}) AS {{c}}", f"bitXor({{c}}, {flip}) AS {{c}}", shift)
        self.run(f"INSERT INTO {table} ({columns}) SELECT {later} FROM src_{i}")

    def unstage(self, i):
        self.run(f"DROP TABLE src_{i}")

    def flush(self):
        pass

    def merge(self):
        tables = self.run("SELECT name FROM system.tables WHERE database = 'bench' AND engine LIKE '%MergeTree'")
        for table in tables.split():
            self.run(f"OPTIMIZE TABLE {table} FINAL")

    def disk(self):
        return int(self.run("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench'"))

    def ask(self, sql):
        return self.run(sql).rstrip("\n").replace("\t", "|")


class Duckdb:
    logs = True

    def __init__(self, spec):
        self.spec = spec

    def open(self):
        import duckdb

        os.makedirs(self.spec["dir"], exist_ok=True)
        self.path = os.path.join(self.spec["dir"], "bench.duckdb")
        self.db = duckdb.connect(self.path)
        self.db.execute("SET enable_progress_bar = false")  # it would be printed among the results

    def close(self):
        self.db.close()

    def create(self, keep_log):
        # the default of 16 MiB would be reached by every insert
        self.db.execute(f"SET checkpoint_threshold = '{'1TB' if keep_log else '256MB'}'")
        for sql in self.spec["create"]:
            self.db.execute(sql)

    def stage(self, i, path):
        self.db.execute(f"CREATE TEMP TABLE src_{i} AS SELECT * FROM read_parquet('{path}')")

    def insert(self, i, shift, flip):
        table, columns = self.spec["table"], ", ".join(self.spec["columns"])
        later = again(self.spec, f"make_timestamp_ns(epoch_ns({{c}}) + {shift})", f"xor({{c}}, {flip})", shift)
        self.db.execute(f"INSERT INTO {table} ({columns}) SELECT {later} FROM src_{i}")

    def unstage(self, i):
        self.db.execute(f"DROP TABLE src_{i}")

    def flush(self):
        self.db.execute("CHECKPOINT")

    def merge(self):
        self.db.execute("CHECKPOINT")

    def disk(self):
        return sum(os.path.getsize(p) for p in files(self.spec["dir"]))

    def ask(self, sql):
        rows = self.db.execute(sql).fetchall()
        return "\n".join("|".join("" if v is None else str(v) for v in row) for row in rows)


class Meter:
    def __init__(self, peer):
        self.peer = peer
        self.began, self.used = time.perf_counter(), self.cpu()

    def cpu(self):
        if isinstance(self.peer, Server):
            return self.peer.cpu()
        u = resource.getrusage(resource.RUSAGE_SELF)
        return u.ru_utime + u.ru_stime

    def stop(self, out):
        """Adds what passed since the start."""
        out["seconds"] += time.perf_counter() - self.began
        out["cpu_s"] += self.cpu() - self.used


def timed(out, fn, *args, began=None):
    """Calls fn and notes how long it took, from the time it began or was due."""
    began = began or time.perf_counter()
    answer = fn(*args)
    out["millis"].append((time.perf_counter() - began) * 1e3)
    return answer


ID_SHIFT = 40  # as workload.idShift


def write(peer, spec, out, pooled):
    """Inserts all rows, chunk by chunk; each chunk is a table in memory before the clock of its insert starts."""
    chunks = spec["chunks"]
    if pooled:
        for i, path in enumerate(chunks):
            peer.stage(i, path)
    meter = Meter(peer)
    given = n = 0
    while time.perf_counter() < meter.began + spec["seconds"] if spec.get("seconds") else given < spec["rows"]:
        cycle, i = divmod(n, len(chunks))
        if not pooled:
            peer.stage(i, chunks[i])
        due = None
        if spec.get("rate"):
            due = meter.began + given / spec["rate"]
            time.sleep(max(0, due - time.perf_counter()))
        timed(out, peer.insert, i, cycle * spec["shift_nanos"], cycle << ID_SHIFT, began=due)
        if not pooled:
            peer.unstage(i)
        given, n = given + spec["chunk_rows"], n + 1
    return meter


def ingest(peer, spec, out):
    peer.open()
    peer.create(False)
    meter = write(peer, spec, out, True)
    peer.flush()
    meter.stop(out)
    out["rows"] = int(peer.ask(f"SELECT count(*) FROM {spec['table']}"))
    out["disk_bytes"] = peer.disk()


def merged(peer, spec, out):
    ingest(peer, spec, out)
    peer.merge()
    out["disk_bytes"] = peer.disk()


def size(peer, spec, out):
    peer.open()
    peer.create(False)
    write(peer, spec, out, False)
    peer.flush()
    out["flush_bytes"] = peer.disk()
    peer.merge()
    out["disk_bytes"] = peer.disk()


def load(peer, spec, out):
    keep_log = spec["phase"] == "load-log"
    peer.open()
    peer.create(keep_log)
    write(peer, spec, out, spec["pool"] < spec["rows"])
    if not keep_log:
        peer.flush()
        peer.merge()
        peer.close()


def scan(peer, spec, out):
    peer.open()
    sql = spec["queries"][0]
    out["answers"].append(peer.ask(sql))
    meter = Meter(peer)
    for _ in range(spec["repeat"]):
        timed(out, peer.ask, sql)
    meter.stop(out)


def needle(peer, spec, out):
    for sql in spec["queries"]:
        evict(spec["dir"])
        peer.open()
        meter = Meter(peer)
        out["answers"].append(timed(out, peer.ask, sql))
        meter.stop(out)
        peer.close()


def start(peer, spec, out):
    evict(spec["dir"])
    meter = Meter(peer)

    def begin():
        peer.open()
        return peer.ask(f"SELECT count(*) FROM {spec['table']}")

    out["answers"].append(timed(out, begin))
    meter.stop(out)


def main():
    spec = json.loads(sys.argv[1])
    peers = {"chdb": Chdb, "duckdb": Duckdb, "questdb": Questdb, "victoriametrics": Victoriametrics}
    peer = peers[spec["system"]](spec)
    if not isinstance(peer, Server):
        __import__(spec["system"])  # loading the library is not part of any phase
    out = {"rows": spec["rows"], "seconds": 0, "cpu_s": 0, "millis": [], "answers": []}
    phases = {"ingest": ingest, "rollup": merged, "tags": merged, "size": size, "load": load, "load-log": load, "scan": scan, "needle": needle, "start": start}
    try:
        phases[spec["phase"]](peer, spec, out)
    finally:
        if isinstance(peer, Server):
            peer.stop()
    print(json.dumps(out), flush=True)
    os._exit(0)  # what is to stay in a log stays there


main()
