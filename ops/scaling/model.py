#!/usr/bin/env python3
"""How far Parlance goes: what an installation of a given size needs, and what is full first.

    ops/scaling/model.py                 # the tables of docs/scaling.md
    ops/scaling/model.py --check         # the model against a simulation of events, within stated tolerances
    ops/scaling/model.py --connections 200000 --messages-per-user 0.05 --readers 50

Two descriptions of the same system that share nothing but the costs. `Plan` is arithmetic: what each message, connection
and comparison takes of each resource, how many nodes hear of a message, and how long it waits in queues (Pollaczek and
Khinchine for nodes and Redis, a chain of batch sizes for the group commit). `simulate` is events: messages come at random,
wait in lines, are committed in groups, published, heard by the nodes on which somebody reads. Where they agree, the
arithmetic may be believed for sizes that nobody here has run; where the costs are wrong, both are. The costs are
measured on one small machine (docs/scaling.md says how each was), and the numbers for large ones are extrapolation.

Standard library only; the check takes seconds and is deterministic.
"""

import argparse
import heapq
import math
import random
import sys
from collections import deque
from dataclasses import dataclass, field, replace

MICRO = 1e-6
KIB = 1024
GIB = 1024**3


@dataclass(frozen=True)
class Costs:
    """What things take, in seconds of a processor unless said otherwise. Measured; see docs/scaling.md."""

    # Node: a message taken up, checked, handed to a lane, its ack; a group's flight to the database; a frame into a socket
    # that is written alone; an envelope from another node; an idle socket (pings); one opened, authenticated, subscribed.
    node_message: float = 22 * MICRO
    node_group: float = 93 * MICRO
    node_delivery: float = 10.5 * MICRO
    node_envelope: float = 13 * MICRO
    node_idle: float = 1.3 * MICRO
    node_connect: float = 130 * MICRO
    # PostgreSQL: a message in a group; a group, with its sync's work; a revision that is compared.
    postgres_message: float = 36 * MICRO
    postgres_group: float = 127 * MICRO
    postgres_compare: float = 3.65 * MICRO
    # The sync at the end of a commit: time, not work.
    sync: float = 1.0e-3
    # Redis, one processor: an envelope published, and written to each node that hears it.
    redis_publish: float = 0.6 * MICRO
    redis_deliver: float = 0.4 * MICRO
    # Bytes: of memory for a connection in a node, in the kernel beside it, and for a user of another node; on disk and
    # of log for a message of 128 bytes.
    node_connection_bytes: float = 5.8 * KIB
    kernel_connection_bytes: float = 8 * KIB
    remote_user_bytes: float = 100
    message_bytes: float = 655
    message_log_bytes: float = 2_600


@dataclass(frozen=True)
class Limits:
    """What one of each has to offer, and how much of it is planned with."""

    node_cores: float = 4
    node_connections: int = 50_000
    node_memory: float = 4 * GIB
    node_base_memory: float = 214 * 1024 * KIB
    nodes: int = 1_024
    lanes_per_node: int = 2
    postgres_cores: float = 16
    postgres_connections_per_node: int = 33
    postgres_connections: int = 1_000
    # Bytes a day that somebody still wants to keep, vacuum and back up in one table, and how long the busy hour lasts.
    disk_bytes_per_day: float = 50 * GIB
    busy_seconds_per_day: float = 8 * 3_600
    redis_cores: float = 1
    nginx_connections: int = 100_000
    # How full anything may be: the rest is for the node that dies, and for the burst.
    headroom: float = 0.7
    compare_seconds: float = 4.0


@dataclass(frozen=True)
class Workload:
    """What people do. Rates are of the busy hour."""

    connections: int
    # Messages a second of one connected user.
    messages_per_user: float = 1 / 60
    # Readers of a message who are connected, its author included.
    readers: int = 20
    # Conversations that a connection has open.
    subscriptions: float = 3
    # The part of connections that comes anew each second.
    churn: float = 1 / 1_800

    @property
    def messages(self):
        """Messages a second."""
        return self.connections * self.messages_per_user

    @property
    def deliveries(self):
        """Frames a second."""
        return self.messages * self.readers

    @property
    def conversations(self):
        """Conversations that somebody has open."""
        return self.connections * self.subscriptions / self.readers

    @property
    def turns(self):
        """People a second who come or go, which every node is told of."""
        return self.connections * self.churn * 2


def nodes_reached(nodes, readers):
    """On how many of `nodes` at least one of `readers` is, who are spread at random."""
    return nodes * (1 - (1 - 1 / nodes) ** readers)


@dataclass
class Plan:
    """What a workload takes of an installation with `nodes` nodes: utilisation of each resource, 1 being all of it."""

    work: Workload
    nodes: int
    costs: Costs = field(default_factory=Costs)
    limits: Limits = field(default_factory=Limits)

    @property
    def heard(self):
        """Nodes that hear of a message from another one: those with a reader, but for the author's."""
        return max(0.0, nodes_reached(self.nodes, self.work.readers) - 1)

    def lane(self):
        """What one writer lane does."""
        rate = self.work.messages / self.nodes / self.limits.lanes_per_node
        return group_commit(rate, self.costs.sync + self.costs.postgres_group, self.costs.postgres_message)

    def groups(self):
        """Commits a second, of all lanes."""
        return self.lane().groups * self.nodes * self.limits.lanes_per_node

    def node_work(self):
        """Seconds of a processor that one node takes each second."""
        w, c = self.work, self.costs
        return (
            w.messages * (c.node_message + self.heard * c.node_envelope)
            + self.groups() * c.node_group
            + w.deliveries * c.node_delivery
            + w.turns * (self.nodes - 1) * c.node_envelope
            + w.connections * (c.node_idle + w.churn * c.node_connect)
        ) / self.nodes

    def redis_work(self):
        """Seconds of Redis's one processor a second."""
        w, c = self.work, self.costs
        messages = w.messages * (c.redis_publish + self.heard * c.redis_deliver)
        return messages + w.turns * (c.redis_publish + (self.nodes - 1) * c.redis_deliver)

    def active(self):
        """Conversations in the memory of all nodes together: each is active wherever somebody has it open."""
        return self.work.conversations * nodes_reached(self.nodes, self.work.readers)

    def postgres_work(self):
        """Seconds of PostgreSQL's processors a second."""
        c, w = self.costs, self.work
        return w.messages * c.postgres_message + self.groups() * c.postgres_group + self.compare_work()

    def compare_work(self):
        """The part of it that goes into comparing revisions: every active conversation of every node, every four seconds."""
        return self.active() / self.limits.compare_seconds * self.costs.postgres_compare

    def bytes_per_day(self):
        """What a day of messages adds to the database."""
        return self.work.messages * self.limits.busy_seconds_per_day * self.costs.message_bytes

    def node_memory(self):
        w, c = self.work, self.costs
        own = w.connections / self.nodes * (c.node_connection_bytes + c.kernel_connection_bytes)
        return self.limits.node_base_memory + own + w.connections * c.remote_user_bytes

    def usage(self):
        """Every resource with how full it is: 1 is full."""
        w, l = self.work, self.limits
        return {
            "node: processors": self.node_work() / l.node_cores,
            "node: connections": w.connections / self.nodes / l.node_connections,
            "node: memory": self.node_memory() / l.node_memory,
            "nodes": self.nodes / l.nodes,
            "redis: processor": self.redis_work() / l.redis_cores,
            "postgres: processors": self.postgres_work() / l.postgres_cores,
            "postgres: connections": self.nodes * l.postgres_connections_per_node / l.postgres_connections,
            "postgres: disk a day": self.bytes_per_day() / l.disk_bytes_per_day,
            "lanes": w.messages * self.costs.postgres_message / (self.nodes * l.lanes_per_node),
        }

    def latency(self):
        """Mean seconds from a message's arrival until a reader on another node has it in the outbox."""
        w, c, cores = self.work, self.costs, self.limits.node_cores
        node = self.node_queue()
        commit = self.lane().latency
        publish = c.redis_publish + self.heard * c.redis_deliver
        redis = waiting(w.messages, [(1.0, publish)])
        local = c.node_envelope + w.readers / nodes_reached(self.nodes, w.readers) * c.node_delivery
        return (node + c.node_message / cores) + commit + (redis + publish) + (node + local / cores)

    def node_queue(self):
        """Mean wait in a node for its processors, taken as one fast one: messages and envelopes in one line."""
        w, c, cores = self.work, self.costs, self.limits.node_cores
        own, heard = w.messages / self.nodes, w.messages * self.heard / self.nodes
        groups = self.groups() / self.nodes
        reached = nodes_reached(self.nodes, w.readers)
        rate = own * 2 + groups + heard
        # A message is worked on when it comes, and again, as those of others are, when its readers get it.
        deliver = w.readers / reached * c.node_delivery
        parts = [
            (own / rate, c.node_message / cores),
            (groups / rate, c.node_group / cores),
            (own / rate, deliver / cores),
            (heard / rate, (c.node_envelope + deliver) / cores),
        ]
        return waiting(rate, parts)


def waiting(rate, parts):
    """Mean wait in a line with one server: `parts` are shares of the arrivals and the time that each takes."""
    mean = sum(share * time for share, time in parts)
    square = sum(share * time * time for share, time in parts)
    load = rate * mean
    return math.inf if load >= 1 else rate * square / (2 * (1 - load))


@dataclass
class GroupCommit:
    """What a lane does: groups a second, and the mean time from a message's arrival to its receipt."""

    groups: float
    latency: float
    size: float


def group_commit(rate, base, each, most=500):
    """A lane that commits whatever waits as soon as it is free: exact, by the chain of sizes of successive groups.

    While a group of n takes t(n) = base + n × each, a number of messages comes that is Poisson with mean rate × t(n); they
    are the next group. If none comes, the next group is the first message that does.
    """
    if rate <= 0:
        return GroupCommit(0.0, base + each, 1.0)
    if rate * each >= 1:
        return GroupCommit(0.0, math.inf, math.inf)
    mean = rate * base / (1 - rate * each)
    top = min(most, int(mean + 12 * math.sqrt(mean + 1) + 12))
    times = [base + n * each for n in range(top + 1)]
    rows = [None] + [poisson(rate * times[n], top) for n in range(1, top + 1)]
    chain = [0.0] * (top + 1)
    chain[max(1, min(top, round(mean)))] = 1.0
    for _ in range(400):
        after = [0.0] * (top + 1)
        for n in range(1, top + 1):
            if chain[n] > 1e-15:
                for m, p in enumerate(rows[n]):
                    after[max(1, m)] += chain[n] * p
        done = sum(abs(a - b) for a, b in zip(after, chain)) < 1e-10
        chain = after
        if done:
            break
    total = messages = seconds = 0.0
    for n in range(1, top + 1):
        come = rate * times[n]
        # Those who come wait for half of this group, and for all of their own.
        total += chain[n] * (come * times[n] / 2 + come * base + (come + come * come) * each)
        none = math.exp(-come)
        total += chain[n] * none * times[1]
        messages += chain[n] * (come + none)
        seconds += chain[n] * (times[n] + none / rate)
    return GroupCommit(1 / seconds, total / messages, messages)


def poisson(mean, top):
    """Probabilities of 0 to `top`, the last with all that is beyond."""
    p = [math.exp(-mean)]
    for n in range(1, top + 1):
        p.append(p[-1] * mean / n)
    p[top] = max(0.0, 1 - sum(p[:top]))
    return p


def fitting(work, costs=Costs(), limits=Limits()):
    """The smallest plan that leaves the headroom in the nodes, and one node more. What is not a node's may be overfull."""
    nodes = 2
    while nodes < limits.nodes:
        usage = Plan(work, nodes, costs, limits).usage()
        if all(value <= limits.headroom for name, value in usage.items() if name.startswith("node:")):
            break
        nodes += 1
    return Plan(work, nodes + 1, costs, limits)


# --- The same by events.


@dataclass
class Seen:
    """What a simulation has seen."""

    messages: int = 0
    node_busy: float = 0.0
    redis_busy: float = 0.0
    postgres_busy: float = 0.0
    groups: int = 0
    heard: int = 0
    deliveries: int = 0
    latencies: list = field(default_factory=list)
    seconds: float = 0.0


class Line:
    """One server and those who wait for it, first come, first served."""

    def __init__(self):
        self.free_at = 0.0
        self.busy = 0.0

    def take(self, now, time):
        """When what comes now and takes `time` is done."""
        self.free_at = max(now, self.free_at) + time
        self.busy += time
        return self.free_at


class Lane:
    """A writer: commits what waits when it is free."""

    def __init__(self):
        self.waiting = deque()
        self.is_busy = False


def simulate(work, nodes, messages, costs=Costs(), limits=Limits(), seed=1):
    """Runs `messages` messages through an installation, one event after the other; readers are placed one by one."""
    dice = random.Random(seed)
    events, order = [], 0
    lines, redis = [Line() for _ in range(nodes)], Line()
    lanes = [[Lane() for _ in range(limits.lanes_per_node)] for _ in range(nodes)]
    seen = Seen()

    def at(time, what, *arguments):
        nonlocal order
        order += 1
        heapq.heappush(events, (time, order, what, arguments))

    def arrives(now):
        if seen.messages < messages:
            seen.messages += 1
            node = dice.randrange(nodes)
            at(lines[node].take(now, costs.node_message / limits.node_cores), submitted, now, node)
            at(now + dice.expovariate(work.messages), arrives)

    def submitted(now, born, node):
        lane = lanes[node][dice.randrange(limits.lanes_per_node)]
        lane.waiting.append((born, node))
        if not lane.is_busy:
            commit(now, lane, node)

    def commit(now, lane, node):
        group, lane.waiting = lane.waiting, deque()
        lane.is_busy = bool(group)
        if group:
            seen.groups += 1
            # The node's work on it overlaps with the database's: it fills the node's line, and the group does not wait.
            lines[node].take(now, costs.node_group / limits.node_cores)
            work_of_it = costs.postgres_group + len(group) * costs.postgres_message
            seen.postgres_busy += work_of_it
            at(now + costs.sync + work_of_it, committed, lane, node, group)

    def committed(now, lane, home, group):
        for born, node in group:
            readers = {}
            for reader in range(work.readers):
                # The author is where the message was sent.
                place = node if reader == 0 else dice.randrange(nodes)
                readers[place] = readers.get(place, 0) + 1
            others = [place for place in readers if place != node]
            seen.deliveries += work.readers
            seen.heard += len(others)
            at(now, hands_out, born, node, readers[node], False)
            published = redis.take(now, costs.redis_publish + len(others) * costs.redis_deliver)
            for place in others:
                at(published, hands_out, born, place, readers[place], True)
        commit(now, lane, home)

    def hands_out(now, born, node, readers, from_afar):
        time = readers * costs.node_delivery + (costs.node_envelope if from_afar else 0)
        done = lines[node].take(now, time / limits.node_cores)
        if from_afar:
            seen.latencies.append(done - born)

    at(0.0, arrives)
    now = 0.0
    while events:
        now, _, what, arguments = heapq.heappop(events)
        what(now, *arguments)
    seen.seconds = now
    seen.node_busy = sum(line.busy for line in lines) * limits.node_cores
    seen.redis_busy = redis.busy
    return seen


# How far the two may be apart: work is counted, so it differs by chance only; times depend on what the arithmetic leaves
# out (that a group's messages come out of their lane together, and that fan-outs differ in size).
TOLERANCE_WORK = 0.03
TOLERANCE_LATENCY = 0.10

# Rates that load a part each: hardly anything, nodes, the group commit, Redis.
CASES = [
    ("quiet", Workload(2_000, 1 / 60, 20), 3, Costs(), 4_000),
    ("teams on eight nodes", Workload(60_000, 1 / 60, 20), 8, Costs(), 30_000),
    ("nodes two thirds full", Workload(20_000, 1 / 2, 80), 4, Costs(), 20_000),
    ("rooms of 200", Workload(20_000, 1 / 30, 200), 6, Costs(), 10_000),
    ("a slow disk", Workload(60_000, 1 / 60, 10), 4, replace(Costs(), sync=8e-3), 30_000),
    ("a slow Redis", Workload(60_000, 1 / 60, 20), 8, replace(Costs(), redis_deliver=60 * MICRO), 30_000),
]


def compare(name, work, nodes, costs, messages):
    """Rows of (what, by arithmetic, by events, difference, tolerance)."""
    # What does not come of messages costs the same whether anything is said: there are no events of it.
    still, work = replace(costs, node_idle=0.0, postgres_compare=0.0), replace(work, churn=0.0)
    plan, seen = Plan(work, nodes, still), simulate(work, nodes, messages, still)
    rows = [
        ("nodes that hear of a message", plan.heard, seen.heard / seen.messages, TOLERANCE_WORK),
        ("node: processors", plan.node_work() * nodes, seen.node_busy / seen.seconds, TOLERANCE_WORK),
        ("redis: processor", plan.redis_work(), seen.redis_busy / seen.seconds, TOLERANCE_WORK),
        ("postgres: processors", plan.postgres_work(), seen.postgres_busy / seen.seconds, TOLERANCE_WORK),
        ("mean latency, ms", plan.latency() * 1e3, sum(seen.latencies) / len(seen.latencies) * 1e3, TOLERANCE_LATENCY),
    ]
    return [(name, *row[:3], abs(row[1] - row[2]) / row[2], row[3]) for row in rows]


def check():
    """Prints all cases; whether all agree."""
    agree = True
    print(f"{'':22} {'':30} {'arithmetic':>11} {'events':>11} {'apart':>7} {'allowed':>8}")
    for case in CASES:
        for name, what, calculated, happened, apart, allowed in compare(*case):
            agree &= apart <= allowed
            mark = "" if apart <= allowed else "  <-- too far"
            print(f"{name:22} {what:30} {calculated:11.4f} {happened:11.4f} {apart:7.1%} {allowed:8.0%}{mark}")
    return agree


SIZES = [1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000]

# Two busy hours: teams, where each writes a message a minute that twenty see; and rooms, where it is two that a hundred see.
HOURS = {"Teams": (1 / 60, 20), "Rooms": (1 / 30, 100)}

HEADER = """\
| connections | messages/s | deliveries/s | nodes | a node's processors | Redis | PostgreSQL's processors, of them comparing | \
its connections | a day | mean | fullest beside the nodes |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"""


def line(work):
    """What a workload needs, as a row under HEADER."""
    plan = fitting(work)
    others = {name: value for name, value in plan.usage().items() if not name.startswith("node:")}
    first = max(others, key=others.get)
    return (
        f"| {work.connections:,} | {work.messages:,.0f} | {work.deliveries:,.0f} | {plan.nodes} "
        f"| {plan.node_work():.2f} | {plan.redis_work():.1%} | {plan.postgres_work():.2f}, {plan.compare_work():.2f} "
        f"| {plan.nodes * plan.limits.postgres_connections_per_node:,} | {plan.bytes_per_day() / GIB:,.0f} GiB "
        f"| {plan.latency() * 1e3:.1f} ms | {first} {others[first]:.0%} |"
    )


def tables():
    """The tables of docs/scaling.md."""
    parts = []
    for name, (rate, readers) in HOURS.items():
        title = f"{name}: {rate * 60:.0f} message{'s' * (rate * 60 > 1.5)} a minute of each, {readers} readers"
        rows = [line(Workload(size, rate, readers)) for size in SIZES]
        parts.append("\n".join([f"{title}\n", HEADER, *rows]))
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="the model against the simulation")
    parser.add_argument("--connections", type=int, help="one size instead of the tables")
    parser.add_argument("--messages-per-user", type=float, default=1 / 60, help="a second, of a connected user")
    parser.add_argument("--readers", type=int, default=20, help="connected readers of a message, its author included")
    parser.add_argument("--subscriptions", type=float, default=3, help="conversations that a connection has open")
    options = parser.parse_args()
    if options.check:
        return 0 if check() else 1
    if options.connections is None:
        print(tables())
        return 0
    work = Workload(options.connections, options.messages_per_user, options.readers, options.subscriptions)
    print(HEADER)
    print(line(work))
    print()
    for name, value in sorted(fitting(work).usage().items(), key=lambda item: -item[1]):
        print(f"{name:24} {value:7.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
