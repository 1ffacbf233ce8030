"""What the model of docs/scaling.md must get right: what is known in closed form, and what a simulation of events says.

Run by `make scaling`; standard library only, some seconds.
"""

import math
import random
import unittest
from dataclasses import replace
from pathlib import Path

import model
from model import Costs, Limits, Plan, Workload, fitting, group_commit, nodes_reached, simulate, waiting

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


class Arithmetic(unittest.TestCase):
    def test_readers_spread_over_nodes(self):
        self.assertEqual(nodes_reached(1, 50), 1)
        self.assertAlmostEqual(nodes_reached(7, 1), 1)
        self.assertAlmostEqual(nodes_reached(2, 2), 1.5)
        self.assertLess(nodes_reached(100, 20), 20)
        self.assertAlmostEqual(nodes_reached(4, 10_000), 4)

    def test_waiting_is_that_of_known_queues(self):
        # M/D/1 at half load waits for half a service; M/M/1 would wait for a whole one.
        self.assertAlmostEqual(waiting(0.5, [(1.0, 1.0)]), 0.5)
        self.assertEqual(waiting(0.0, [(1.0, 1.0)]), 0.0)
        self.assertEqual(waiting(1.0, [(1.0, 1.0)]), math.inf)

    def test_a_group_commit_is_one_message_when_it_is_quiet_and_fluid_when_it_is_not(self):
        quiet = group_commit(0.01, 0.01, 0.001)
        self.assertAlmostEqual(quiet.latency, 0.011, delta=1e-4)
        self.assertAlmostEqual(quiet.size, 1, delta=1e-3)
        # A thousand in a group: the time t of a group is base + rate × t × each; who comes waits for t/2, then for t.
        busy = group_commit(50_000, 0.004, 8e-6, most=2_000)
        cycle = 0.004 / (1 - 50_000 * 8e-6)
        self.assertAlmostEqual(busy.latency / (1.5 * cycle), 1, delta=0.02)
        self.assertAlmostEqual(busy.size / (50_000 * cycle), 1, delta=0.02)
        self.assertEqual(group_commit(1_000, 0.001, 0.001).latency, math.inf)

    def test_a_group_commit_is_that_of_a_simulated_lane(self):
        dice, rate, base, each = random.Random(7), 900.0, 2e-3, 1e-4
        arrivals, now = [], 0.0
        for _ in range(60_000):
            now += dice.expovariate(rate)
            arrivals.append(now)
        at, free, total, groups = 0, 0.0, 0.0, 0
        while at < len(arrivals):
            start = max(free, arrivals[at])
            end = at
            while end < len(arrivals) and arrivals[end] <= start:
                end += 1
            free = start + base + (end - at) * each
            total += sum(free - born for born in arrivals[at:end])
            at, groups = end, groups + 1
        lane = group_commit(rate, base, each)
        self.assertAlmostEqual(lane.latency / (total / len(arrivals)), 1, delta=0.02)
        self.assertAlmostEqual(lane.groups / (groups / arrivals[-1]), 1, delta=0.02)

    def test_one_node_hears_nobody_and_publishes_to_nobody(self):
        plan = Plan(Workload(1_000, churn=0.0), 1)
        self.assertEqual(plan.heard, 0)
        self.assertAlmostEqual(plan.redis_work(), plan.work.messages * plan.costs.redis_publish)

    def test_plans_leave_the_headroom_when_a_node_is_away(self):
        for size in model.SIZES:
            plan = fitting(Workload(size))
            away = Plan(plan.work, plan.nodes - 1)
            for name, value in away.usage().items():
                if name.startswith("node:"):
                    self.assertLessEqual(value, plan.limits.headroom, f"{name} with {size}")

    def test_more_of_anything_never_needs_less(self):
        base = Workload(200_000)
        for more in (
            replace(base, connections=300_000),
            replace(base, readers=60),
            replace(base, messages_per_user=base.messages_per_user * 3),
        ):
            self.assertGreaterEqual(fitting(more).nodes, fitting(base).nodes)
            self.assertGreater(Plan(more, 8).node_work(), Plan(base, 8).node_work())

    def test_what_is_dear_shows(self):
        dear = replace(Costs(), postgres_compare=1e-3)
        usage = Plan(Workload(500_000), 16, dear).usage()
        self.assertEqual(max(usage, key=usage.get), "postgres: processors")


class Events(unittest.TestCase):
    def test_the_arithmetic_is_what_events_do(self):
        for case in model.CASES:
            for name, what, calculated, happened, apart, allowed in model.compare(*case):
                with self.subTest(case=name, what=what):
                    self.assertLessEqual(apart, allowed, f"{calculated} and {happened}")

    def test_they_would_notice_a_wrong_cost(self):
        name, work, nodes, costs, messages = model.CASES[1]
        wrong = replace(costs, node_envelope=costs.node_envelope * 1.2)
        seen = simulate(replace(work, churn=0.0), nodes, messages, replace(wrong, node_idle=0.0))
        plan = Plan(replace(work, churn=0.0), nodes, replace(costs, node_idle=0.0))
        self.assertGreater(abs(plan.node_work() * nodes / (seen.node_busy / seen.seconds) - 1), model.TOLERANCE_WORK)

    def test_nothing_is_lost_on_the_way(self):
        work = Workload(10_000, 1 / 20, 30)
        seen = simulate(work, 5, 3_000)
        self.assertEqual(seen.messages, 3_000)
        self.assertEqual(seen.deliveries, 3_000 * work.readers)
        self.assertEqual(len(seen.latencies), seen.heard)
        self.assertTrue(all(latency > 0 for latency in seen.latencies))

    def test_the_same_seed_is_the_same_day(self):
        work = Workload(5_000)
        self.assertEqual(simulate(work, 3, 500, seed=3).latencies, simulate(work, 3, 500, seed=3).latencies)
        self.assertNotEqual(simulate(work, 3, 500, seed=3).latencies, simulate(work, 3, 500, seed=4).latencies)


class Page(unittest.TestCase):
    def test_its_tables_are_what_the_model_says(self):
        text = PAGE.read_text(encoding="utf-8")
        inside = text.split("<!-- model -->\n")[1].split("<!-- /model -->")[0]
        self.assertEqual(inside.strip(), model.tables().strip(), "run ops/scaling/model.py and paste what it says")

    def test_its_costs_are_those_of_the_model(self):
        text = PAGE.read_text(encoding="utf-8")
        for name, value in vars(Costs()).items():
            shown = next((row for row in text.splitlines() if row.startswith(f"| `{name}` |")), None)
            self.assertIsNotNone(shown, f"{name} is not in the table of costs")
            number = float(shown.split("|")[2].split()[0].replace(",", ""))
            unit = {"µs": 1e-6, "ms": 1e-3, "KiB": 1024, "B": 1}[shown.split("|")[2].split()[1]]
            self.assertAlmostEqual(number * unit / value, 1, places=6, msg=name)

    def test_its_limits_are_those_of_the_server(self):
        config = PAGE.parents[1] / "src" / "config"
        sessions = (config / "sessions.rs").read_text(encoding="utf-8")
        conversations = (config / "conversations.rs").read_text(encoding="utf-8")
        self.assertIn(f"connections_max: {Limits().node_connections:_}", sessions)
        self.assertIn(f"persistence_lanes: {Limits().lanes_per_node},", conversations)


if __name__ == "__main__":
    unittest.main()
