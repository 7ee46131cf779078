"""`make chaos MINUTES=30`: kill, cut and freeze a job and its brokers, and count what comes out.

    python scripts/chaos.py [--minutes 30] [--only KIND]
    python scripts/chaos.py --round exactly-once --seed 7 [--faults kill-application=5 ...]

A round is three brokers, each behind a proxy (``chaos_proxy.py``), two to four processes of
one job, and a seed that decides which fault comes when. The job counts rows by key in
state, changes the key, and sums in windows:

    in ─▶ count by key (state) ─▶ counts
                 └─▶ group_by city (repartition) ─▶ tumbling sum, final ─▶ sums

What comes in is numbered, so what must come out follows from the number of rows: every
row once with the count of its key, every window once with its sum. A reader of committed
records that is not ours (confluent-kafka), past the proxies, compares all along. At the end
of a round the changelog must fold to the counts, the positions must stand at the end of the
input, and every fault that was wanted must have fired.

Kinds of rounds: ``exactly-once``, ``at-least-once`` (nothing lost; the share of repeats is
told), and ``storm``, in which four members are started and stopped all the time. Without
``--round`` they go on where the table of RELIABILITY.md stopped; rows are written as each
round ends. A round that fails prints its seed and keeps ``target/chaos/KIND-SEED``: what
came out, what every process said, what the brokers said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos_model import CLIENT, PARTITIONS, WINDOW_MS, Failed, Feeder, Oracle, judge_log
from chaos_proxy import Proxy
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from reliability import LINE, ROOT, TARGET_DIR, Row, changing, commit

KEPT = TARGET_DIR / "chaos"
SESSION_SECONDS = 6
# A job that gives nothing for so long hangs.
PATIENCE = 150.0

JOB = """
import json, sys
from headwater import Application, Count, State, Sum

options = json.loads(sys.argv[1])
app = Application(
    options["brokers"], name="chaos", directory=options["directory"], loglevel="INFO",
    commit_interval=options["commit_interval"], idle_timeout=None,
    processing_guarantee=options["guarantee"], group_protocol=options["protocol"],
    consumer_extra_config=options["settings"],
)


def count(row: dict, state: State) -> dict:
    n = state.get("n", 0) + 1
    state.set("n", n)
    return {"id": row["id"], "city": row["city"], "x": row["x"], "n": n}


sdf = app.dataframe(app.topic("in")).apply(count, stateful=True)
sdf.to_topic(app.topic("counts"))
windows = sdf.group_by("city").tumbling_window(1_000).agg(total=Sum("x"), rows=Count())
windows.final(closing_strategy="partition").to_topic(app.topic("sums"))
app.run(collect=False)
"""

# Of which kind a fault counts in the table.
COUNTED = {
    "kill-application": "chaos-kill-application",
    "kill-all": "chaos-kill-application",
    "kill-at-start": "chaos-kill-application",
    "kill-broker": "chaos-broker",
    "stop-broker": "chaos-broker",
    "freeze-broker": "chaos-broker",
    "cut": "chaos-cut",
    "lose": "chaos-cut",
    "hold": "chaos-cut",
    "zombie": "chaos-zombie",
}
# A round of a session; `--faults` says another.
SESSION_FAULTS = {
    "kill-application": 10, "kill-all": 1, "kill-at-start": 3, "kill-broker": 2, "stop-broker": 1,
    "freeze-broker": 1, "cut": 2, "lose": 2, "hold": 1, "zombie": 2,
}  # fmt: skip
# At least once: a quarter of the same.
FEWER_FAULTS = {"kill-application": 3, "kill-all": 1, "kill-broker": 1, "cut": 1, "lose": 1}
# What a process says that has given up what it was at, because the group has gone on
# without it or its transaction was over.
GAVE_UP = "starting again from the last commit"


@dataclass
class Round:
    """What is to be done."""

    kind: str
    seed: int
    faults: dict[str, int]
    seconds: float = 0.0
    # Of a storm, those in which it blew.
    stormed: float = 0.0
    # The job promises less than it is judged by: the round must fail.
    is_planted: bool = False
    fired: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    repeats: int = 0
    changes: int = 0

    @property
    def is_exactly_once(self) -> bool:
        """Whether repeats are failures."""
        return self.kind != "at-least-once"


class Process:
    """One process of the job."""

    def __init__(self, options: dict[str, Any], work: Path, number: int) -> None:
        self.number = number
        self.output = work / f"process-{number}.log"
        # What was to end it.
        self.ended_by: signal.Signals | None = None
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(work / "job.py"), json.dumps(options)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self.ended_by = number
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """Return all that it has said."""
        return self.output.read_text(errors="replace")


class Cluster:
    """Three brokers behind proxies, by `scripts/kafka`."""

    def __init__(self, work: Path) -> None:
        self.proxies = [Proxy() for _ in range(3)]
        command = [sys.executable, str(ROOT / "scripts" / "kafka"), "run", "--brokers", "3"]
        command += ["--logs", str(work)]
        for proxy in self.proxies:
            command += ["--advertised", proxy.address]
        self.script = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.script.stdout is not None
        words = self.script.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise Failed("no broker could be started; the reason stands above")
        self.addresses, listening, self.direct = words[1:]
        for proxy, address in zip(self.proxies, listening.split(","), strict=True):
            proxy.connect_to(address)

    def tell(self, command: str) -> None:
        """Give an order to a broker."""
        assert self.script.stdin is not None
        assert self.script.stdout is not None
        print(command, file=self.script.stdin, flush=True)
        answer = self.script.stdout.readline().strip()
        if answer != "ok":
            raise Failed(f"{command}: {answer}")

    def end(self) -> None:
        """Stop the brokers and remove their data."""
        self.script.communicate()


class Chaos:
    """One round while it runs."""

    def __init__(self, task: Round, work: Path) -> None:
        self.task = task
        self.work = work
        self.chance = random.Random(task.seed)
        self.protocol = ("classic", "consumer")[task.seed % 2]
        self.members = 4 if task.kind == "storm" else self.chance.randint(2, 4)
        self.processes: list[Process] = []
        self.started = 0
        # Brokers delete what is older than a topic's retention by the records' own times.
        start_ms = int(time.time()) * 1_000 - 600_000
        self.start_ms = start_ms - start_ms % WINDOW_MS
        (work / "job.py").write_text(JOB)
        self.cluster = Cluster(work)
        self.story = open(work / "story.log", "w")  # noqa: SIM115

    def say(self, text: str) -> None:
        """Write into the story of the round."""
        print(f"{datetime.now(UTC):%H:%M:%S.%f} {text}", file=self.story, flush=True)

    # -- processes ----------------------------------------------------------

    def start(self) -> Process:
        """Start one more process."""
        self.started += 1
        # By this name its group knows it.
        settings: dict[str, Any] = {"client.id": f"process-{self.started}"}
        if self.protocol == "classic":
            settings["session.timeout.ms"] = SESSION_SECONDS * 1_000
        promises_all = self.task.is_exactly_once and not self.task.is_planted
        options = {
            "brokers": self.cluster.addresses,
            "directory": str(self.work / "directory"),
            "commit_interval": self.chance.choice([0.05, 0.1, 0.5]),
            "guarantee": "exactly-once" if promises_all else "at-least-once",
            "protocol": self.protocol,
            "settings": settings,
        }
        process = Process(options, self.work, self.started)
        self.processes.append(process)
        self.say(f"start {process.number}")
        return process

    def look(self) -> None:
        """Find processes that ended by themselves."""
        for process in self.processes:
            code = process.process.poll()
            if code is None or process.ended_by is signal.SIGKILL:
                continue
            # One that was asked to end may not have got as far as to listen.
            if process.ended_by is None or code not in {0, -signal.SIGTERM}:
                how = "by itself" if process.ended_by is None else "when asked to"
                raise Failed(
                    f"process {process.number} ended {how} with {code}: {process.said()[-1_500:]}"
                )
        self.processes = [one for one in self.processes if one.process.poll() is None]

    def fill_up(self) -> None:
        """Start what is missing."""
        self.look()
        while len(self.processes) < self.members:
            self.start()

    # -- faults -------------------------------------------------------------

    def pick(self) -> Process:
        """Choose a process, whatever it is doing."""
        return self.chance.choice(self.processes)

    def kill(self, process: Process) -> None:
        """Kill one, and count it if it lived."""
        self.say(f"kill {process.number}")
        if process.process.poll() is None:
            self.task.fired["chaos-kill-application"] += 1
        process.kill()

    def do(self, fault: str) -> None:
        """Carry a fault out."""
        self.fill_up()
        self.say(fault)
        match fault:
            case "kill-application":
                self.kill(self.pick())
            case "kill-all":
                for process in list(self.processes):
                    self.kill(process)
            case "kill-at-start":
                self.kill(self.pick())
                self.look()
                started = self.start()
                # While it imports, joins, restores, or has just begun.
                time.sleep(self.chance.uniform(0.3, 4.0))
                self.look()
                self.kill(started)
            case "kill-broker" | "stop-broker" | "freeze-broker":
                self.hurt_broker(fault.removesuffix("-broker"))
            case "cut":
                proxies = self.chance.sample(self.cluster.proxies, self.chance.randint(1, 3))
                share = self.chance.choice([0.3, 1.0])
                cut = sum(proxy.cut(self.chance, share) for proxy in proxies)
                self.task.fired["chaos-cut"] += cut > 0
            case "lose" | "hold":
                self.lose(fault)
            case "zombie":
                self.make_zombie()

    def hurt_broker(self, how: str) -> None:
        """Take one broker away for some seconds."""
        number = self.chance.randint(1, 3)
        self.say(f"{how} broker {number}")
        self.cluster.tell(f"{how} {number}")
        self.task.fired["chaos-broker"] += 1
        time.sleep(self.chance.uniform(1.0, 6.0))
        self.cluster.tell(f"thaw {number}" if how == "freeze" else f"start {number}")
        self.say(f"broker {number} is back")

    def lose(self, what: str) -> None:
        """Lose a reply, or let a request be late, of whichever broker meets it first."""
        kinds = ["EndTxn", "TxnOffsetCommit", "Produce", "AddPartitionsToTxn"]
        if not self.task.is_exactly_once:
            kinds = ["Produce"]
        elif what == "hold":
            kinds = ["EndTxn", "TxnOffsetCommit"]
        kind = self.chance.choice(kinds)
        self.say(f"{what} {kind}")
        before = sum(proxy.fired for proxy in self.cluster.proxies)
        for proxy in self.cluster.proxies:
            proxy.order(what, kind)
        deadline = time.monotonic() + 60
        while sum(proxy.fired for proxy in self.cluster.proxies) == before:
            if deadline < time.monotonic():
                raise Failed(f"no request of kind {kind} in a minute")
            time.sleep(0.01)
        for proxy in self.cluster.proxies:
            proxy.withdraw()
        self.task.fired["chaos-cut"] += 1

    def is_shared_by(self, processes: list[Process]) -> bool:
        """Whether they alone are the group's members, and own all partitions."""
        owned = self.owned()
        return owned.keys() == {f"process-{process.number}" for process in processes} and (
            sum(owned.values()) == 2 * PARTITIONS
        )

    def owned(self) -> dict[str, int]:
        """Return the members of the group, and how many partitions each of them owns."""
        admin = AdminClient({**CLIENT, "bootstrap.servers": self.cluster.direct})
        with contextlib.suppress(Exception):
            group = admin.describe_consumer_groups(["chaos"])["chaos"].result(10)
            return {
                member.client_id: len(member.assignment.topic_partitions)
                for member in group.members
            }
        return {}

    def make_zombie(self) -> None:
        """Stop a process until its group has gone on without it, and let it go on."""
        deadline = time.monotonic() + 90
        # One that was killed is a member for a while.
        while not self.is_shared_by(self.processes):
            self.look()
            if deadline < time.monotonic():
                raise Failed(f"the group does not settle: {self.owned()}")
            time.sleep(0.5)
        process = self.pick()
        self.say(f"stop {process.number} where it stands")
        process.send(signal.SIGSTOP)
        said = len(process.said())
        others = [one for one in self.processes if one is not process]
        deadline = time.monotonic() + 90
        while not self.is_shared_by(others):
            if deadline < time.monotonic():
                process.send(signal.SIGCONT)
                raise Failed(f"the group does not go on: {self.owned()}")
            time.sleep(0.5)
        time.sleep(self.chance.uniform(0.5, 3.0))
        self.say(f"let {process.number} go on")
        process.send(signal.SIGCONT)
        deadline = time.monotonic() + 60
        while GAVE_UP not in process.said()[said:]:
            self.look()
            if deadline < time.monotonic():
                raise Failed(f"process {process.number} does not notice that it is a zombie")
            time.sleep(0.1)
        self.task.fired["chaos-zombie"] += 1

    # -- the round ----------------------------------------------------------

    def run(self) -> None:
        """Run it.

        Raises
        ------
        Failed
            If anything is wrong.
        """
        task = self.task
        topics = [
            NewTopic(
                name,
                num_partitions=PARTITIONS,
                replication_factor=3,
                # Rows are numbered by time, and outrun the clock.
                config={"message.timestamp.after.max.ms": str(2**63 - 1)},
            )
            for name in ("in", "counts", "sums")
        ]
        admin = AdminClient({**CLIENT, "bootstrap.servers": self.cluster.direct})
        for made in admin.create_topics(topics).values():
            made.result(30)
        self.say(f"{task.kind} seed={task.seed} {self.protocol} members={self.members}")
        oracle = Oracle(self.cluster.direct, self.start_ms, task.is_exactly_once)
        feeder = Feeder(self.cluster.direct, lambda: oracle.distinct, self.start_ms)
        try:
            self.fill_up()
            self.wait(lambda: oracle.distinct > 0, "begin")
            if task.kind == "storm":
                self.storm(oracle)
            else:
                self.hurt(oracle)
            self.fill_up()
            feeder.end()
            task.rows = feeder.count
            self.wait(lambda: oracle.is_complete(feeder.count), "end", lambda: oracle.all)
            # What comes twice may come a little later.
            time.sleep(2)
            self.look()
            for process in self.processes:
                process.send(signal.SIGTERM)
            for process in self.processes:
                try:
                    code = process.process.wait(60)
                except subprocess.TimeoutExpired as late:
                    raise Failed(f"process {process.number} does not end when asked to") from late
                if code != 0:
                    raise Failed(f"process {process.number} ended with {code}")
            self.processes = []
            time.sleep(1)
        finally:
            feeder.is_ending.set()
            oracle.end()
            self.story.flush()
        oracle.judge(feeder.count)
        task.repeats = oracle.all - oracle.distinct - len(oracle.ends)
        judge_log(self.cluster.direct, feeder.count, task.is_exactly_once)
        for fault, wanted in task.faults.items():
            counted = COUNTED[fault]
            least = sum(n for name, n in task.faults.items() if COUNTED[name] == counted)
            if wanted and task.fired[counted] < least:
                raise Failed(f"only {task.fired[counted]} of {least} {counted} fired")

    def hurt(self, oracle: Oracle) -> None:
        """Carry out all faults in an order that the seed decides."""
        faults = [name for name, count in self.task.faults.items() for _ in range(count)]
        self.chance.shuffle(faults)
        for fault in faults:
            self.do(fault)
            # Sometimes the next one comes in the midst of the recovery.
            if self.chance.random() < 0.3:
                time.sleep(self.chance.uniform(0.0, 2.0))
                continue
            self.fill_up()
            before = oracle.distinct
            self.wait(lambda before=before: before + 2_000 <= oracle.distinct, fault)

    def storm(self, oracle: Oracle) -> None:
        """Start and stop members all the time."""
        began = time.monotonic()
        while self.task.stormed < self.task.seconds:
            before = oracle.distinct
            for _ in range(8):
                time.sleep(self.chance.uniform(0.2, 4.0))
                self.fill_up()
                process = self.pick()
                self.task.changes += 1
                if self.chance.random() < 0.5:
                    self.kill(process)
                else:
                    self.say(f"end {process.number}")
                    process.send(signal.SIGTERM)
                    if self.chance.random() < 0.5:
                        self.start()
            self.fill_up()
            self.wait(lambda before=before: before < oracle.distinct, "storm")
            self.task.stormed = time.monotonic() - began

    def wait(
        self, is_done: Callable[[], bool], what: str, progress: Callable[[], int] = lambda: 0
    ) -> None:
        """Wait, while processes live and something moves."""
        moved_at, last = time.monotonic(), progress()
        while not is_done():
            self.look()
            if (now := progress()) != last:
                moved_at, last = time.monotonic(), now
            if moved_at + PATIENCE < time.monotonic():
                raise Failed(f"nothing comes out any more after {what}")
            time.sleep(0.05)

    def end(self) -> None:
        """End whatever lives."""
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
        self.cluster.end()
        self.story.close()


def run_round(task: Round) -> bool:
    """Run a round; whether all was right. One that was not leaves its directory."""
    work = KEPT / f"{task.kind}-{task.seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    started = time.monotonic()
    print(f"chaos: {task.kind} seed={task.seed}", flush=True)
    chaos = None
    try:
        chaos = Chaos(task, work)
        chaos.run()
    except (Failed, KafkaException, OSError) as failed:
        print(f"chaos: FAILED {task.kind} seed={task.seed}: {failed}\n  kept in {work}", flush=True)
        (work / "failure").write_text(str(failed))
        return False
    finally:
        if chaos is not None:
            chaos.end()
        task.seconds = time.monotonic() - started
    shutil.rmtree(work, ignore_errors=True)
    return True


def lines(task: Round, is_right: bool) -> list[str]:
    """Return what there is to tell of a round."""
    count = int(task.stormed) if task.kind == "storm" else 1
    faults = task.changes if task.kind == "storm" else sum(task.fired.values())
    told = [
        f"trust: what=chaos-{task.kind} count={count} seeds={task.seed}..{task.seed + 1} "
        f"records={task.rows} faults={faults} failures={int(not is_right)}"
    ]
    if is_right:
        told += [
            f"trust: what={what} count={n} faults={n} failures=0"
            for what, n in sorted(task.fired.items())
        ]
    return told


def append(told: list[str], when: str, at_commit: str) -> None:
    """Add lines to this session's rows in the table."""
    with changing() as document:
        for text in told:
            line = LINE.search(text)
            assert line is not None
            mine = [row for row in document.rows if (row.what, row.when) == (line["what"], when)]
            row = mine[0] if mine else Row(line["what"], when=when, commit=at_commit)
            row.add(line)
            if not mine:
                document.rows.append(row)


def session(minutes: float, only: str | None) -> int:
    """Run rounds until the time is over."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    # Of what was built; the tree may change while it runs.
    at_commit = commit()
    deadline = time.monotonic() + minutes * 60
    failures = number = 0
    kinds = [only] if only else ["exactly-once", "at-least-once", "exactly-once", "storm"]
    while time.monotonic() < deadline:
        kind = kinds[number % len(kinds)]
        number += 1
        with changing() as document:
            seed = document.next_seed(f"chaos-{kind}")
        left = deadline - time.monotonic()
        task = Round(kind, seed, SESSION_FAULTS if kind == "exactly-once" else FEWER_FAULTS)
        if kind == "storm":
            task.faults, task.seconds = {}, min(300.0, left)
        is_right = run_round(task)
        failures += not is_right
        told = lines(task, is_right)
        append(told, when, at_commit)
        print("\n".join(told), flush=True)
        if kind == "at-least-once" and task.rows:
            print(f"chaos: repeated {task.repeats} of {task.rows} rows", flush=True)
    return 1 if failures else 0


def main() -> int:
    """Read the command line; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ["exactly-once", "at-least-once", "storm"]
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--only", choices=kinds)
    parser.add_argument("--round", choices=kinds, help="one round, and no row of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--planted",
        action="store_true",
        help="the job is at least once whatever the round: it fails",
    )
    parser.add_argument("--seconds", type=float, default=60, help="of a storm")
    parser.add_argument("--faults", nargs="*", metavar="NAME=COUNT", help=" ".join(COUNTED))
    options = parser.parse_args()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    # Nothing that was started outlives this.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if options.round is None:
        return session(options.minutes, options.only)
    faults = SESSION_FAULTS if options.round == "exactly-once" else FEWER_FAULTS
    if options.round == "storm":
        faults = {}
    if options.faults is not None:
        faults = {name: int(n) for name, n in (part.split("=") for part in options.faults)}
    task = Round(options.round, options.seed, faults, options.seconds, options.planted)
    is_right = run_round(task)
    print("\n".join(lines(task, is_right)))
    print(f"chaos: rows={task.rows} repeats={task.repeats} seconds={task.seconds:.0f}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
