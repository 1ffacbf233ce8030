//! Tests of the turns: who is next, who is let in, and that nothing is left.

use super::*;
use proptest::prelude::*;

const LIMITS: TurnLimits = TurnLimits {
    running_max: 4,
    running_of_group_max: 3,
    running_of_member_max: 2,
    waiting_max: 20,
    waiting_of_group_max: 12,
    waiting_of_member_max: 8,
};

type TestTurns = Turns<u8, u8, usize>;

const fn of(group: u8, member: u8) -> Claimant<u8, u8> {
    Claimant { group, member }
}

/// Everything that may run now.
fn start(turns: &mut TestTurns) -> Vec<Turn<u8, u8, usize>> {
    std::iter::from_fn(|| turns.next()).collect()
}

fn ask_all(turns: &mut TestTurns, claimant: Claimant<u8, u8>, tickets: usize) {
    for ticket in 0..tickets {
        turns.ask(claimant, ticket).unwrap();
    }
}

fn one_at_a_time() -> TurnLimits {
    TurnLimits {
        running_max: 1,
        ..LIMITS
    }
}

#[test]
fn a_neighbour_is_next_however_many_of_one_tenant_wait() {
    let mut turns = TestTurns::new(one_at_a_time());
    for ticket in 0..12 {
        turns.ask(of(1, (ticket % 4) as u8), ticket).unwrap();
    }
    let first = start(&mut turns).pop().unwrap();
    turns.ask(of(2, 0), 100).unwrap();
    turns.release(first.claimant, first.expected, 5_000);
    assert_eq!(start(&mut turns)[0].ticket, 100);
}

#[test]
fn within_a_tenant_users_take_turns() {
    let mut turns = TestTurns::new(one_at_a_time());
    for ticket in 0..6 {
        turns.ask(of(1, 1), ticket).unwrap();
    }
    turns.ask(of(1, 2), 100).unwrap();
    let mut order = Vec::new();
    while let Some(turn) = turns.next() {
        order.push(turn.ticket);
        turns.release(turn.claimant, turn.expected, 1_000);
    }
    assert_eq!(order, [0, 100, 1, 2, 3, 4, 5]);
}

#[test]
fn nobody_runs_more_than_a_share() {
    let mut turns = TestTurns::new(LIMITS);
    ask_all(&mut turns, of(1, 1), 8);
    assert_eq!(start(&mut turns).len(), 2, "of a member");
    ask_all(&mut turns, of(1, 2), 4);
    assert_eq!(start(&mut turns).len(), 1, "of a group");
    turns.ask(of(2, 1), 0).unwrap();
    assert_eq!(start(&mut turns).len(), 1, "one is left for others");
}

#[test]
fn a_full_queue_is_full_for_those_who_filled_it() {
    let mut turns = TestTurns::new(one_at_a_time());
    let mut tickets = 0..;
    let mut fill = |turns: &mut TestTurns, claimant| {
        let mut admitted = 0;
        while let Ok(Admitted { displaced: None, .. }) = turns.ask(claimant, tickets.next().unwrap()) {
            admitted += 1;
        }
        admitted
    };
    assert_eq!(fill(&mut turns, of(1, 1)), 8, "of a member");
    assert_eq!(fill(&mut turns, of(1, 2)), 4, "of a group");
    assert_eq!(turns.waiting(), 12, "one took a place from the other");
    assert_eq!(fill(&mut turns, of(2, 1)), 8, "all");
    assert!(turns.ask(of(2, 1), 1_000).is_err(), "has most");
    // A third tenant takes a place from the first, as long as that has more.
    for n in 1..=6 {
        assert!(turns.ask(of(3, 1), 1_000 + n).unwrap().displaced.is_some());
        assert_eq!(turns.waiting(), 20);
    }
    assert!(turns.ask(of(3, 1), 2_000).is_err(), "now all have as many");
}

#[test]
fn a_group_is_chosen_by_what_it_has_used() {
    let mut turns = TestTurns::new(one_at_a_time());
    let mut runs = [0; 3];
    for n in 0..200 {
        for group in [1, 2] {
            // Whoever has something running asks for the next thing.
            if turns.groups.get(&group).is_none_or(|known| known.waiting < 2) {
                turns.ask(of(group, 0), n).unwrap();
            }
        }
        let turn = turns.next().unwrap();
        runs[usize::from(turn.claimant.group)] += 1;
        let cost = if turn.claimant.group == 1 { 9_000 } else { 1_000 };
        turns.release(turn.claimant, turn.expected, cost);
    }
    assert!((18..=23).contains(&runs[1]) && runs[2] >= 177, "{runs:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8, u8),
    Release(usize, u64),
    Withdraw(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u8..4, 0_u8..4).prop_map(|(group, member)| Step::Ask(group, member)),
        2 => (any::<usize>(), 0_u64..100_000).prop_map(|(n, cost)| Step::Release(n, cost)),
        1 => any::<usize>().prop_map(Step::Withdraw),
    ];
    prop::collection::vec(step, 0..300)
}

/// What a user of the turns knows of them.
#[derive(Default)]
struct Model {
    running: Vec<Turn<u8, u8, usize>>,
    /// Who waits: claimant, number, ticket.
    waiting: Vec<(Claimant<u8, u8>, u64, usize)>,
}

impl Model {
    fn started(&mut self, turns: Vec<Turn<u8, u8, usize>>) {
        for turn in turns {
            let of_member = |(claimant, _, _): &&(Claimant<u8, u8>, u64, usize)| *claimant == turn.claimant;
            let first = self.waiting.iter().find(of_member).map(|(_, _, ticket)| *ticket);
            assert_eq!(
                first,
                Some(turn.ticket),
                "a member's tickets are taken in order, each once"
            );
            self.waiting.retain(|(_, _, ticket)| *ticket != turn.ticket);
            self.running.push(turn);
        }
    }

    fn check(&self, turns: &TestTurns) {
        let running =
            |fits: &dyn Fn(Claimant<u8, u8>) -> bool| self.running.iter().filter(|turn| fits(turn.claimant)).count();
        let waiting =
            |fits: &dyn Fn(Claimant<u8, u8>) -> bool| self.waiting.iter().filter(|(of, _, _)| fits(*of)).count();
        assert_eq!(turns.waiting(), self.waiting.len());
        assert!(running(&|_| true) <= LIMITS.running_max && self.waiting.len() <= LIMITS.waiting_max);
        for group in 0..4 {
            assert!(running(&|of| of.group == group) <= LIMITS.running_of_group_max);
            assert!(waiting(&|of| of.group == group) <= LIMITS.waiting_of_group_max);
            for member in 0..4 {
                let claimant = of(group, member);
                assert!(running(&|of| of == claimant) <= LIMITS.running_of_member_max);
                assert!(waiting(&|of| of == claimant) <= LIMITS.waiting_of_member_max);
            }
        }
        // Nobody waits who could run.
        if self.running.len() < LIMITS.running_max {
            for (claimant, _, _) in &self.waiting {
                let group = running(&|of| of.group == claimant.group);
                let member = running(&|of| of == *claimant);
                assert!(group == LIMITS.running_of_group_max || member == LIMITS.running_of_member_max);
            }
        }
    }
}

proptest! {
    /// Whatever is asked, given back and withdrawn: the limits hold, every ticket has one end,
    /// nobody waits who could run, and in the end nothing is left.
    #[test]
    fn limits_hold_and_nothing_is_left(steps in steps()) {
        let mut turns = TestTurns::new(LIMITS);
        let mut model = Model::default();
        for (ticket, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask(group, member) => match turns.ask(of(group, member), ticket) {
                    Ok(Admitted { number, displaced }) => {
                        let before = model.waiting.len();
                        model.waiting.retain(|(_, _, other)| Some(*other) != displaced);
                        prop_assert_eq!(before - model.waiting.len(), usize::from(displaced.is_some()));
                        model.waiting.push((of(group, member), number, ticket));
                    }
                    Err(given_back) => prop_assert_eq!(given_back, ticket),
                },
                Step::Release(n, cost) if !model.running.is_empty() => {
                    let turn = model.running.swap_remove(n % model.running.len());
                    turns.release(turn.claimant, turn.expected, cost);
                }
                Step::Withdraw(n) if !model.waiting.is_empty() => {
                    let (claimant, number, ticket) = model.waiting.remove(n % model.waiting.len());
                    prop_assert_eq!(turns.withdraw(claimant, number), Some(ticket));
                    prop_assert_eq!(turns.withdraw(claimant, number), None);
                }
                Step::Release(..) | Step::Withdraw(_) => {}
            }
            model.started(start(&mut turns));
            model.check(&turns);
        }
        while let Some(turn) = model.running.pop() {
            turns.release(turn.claimant, turn.expected, 1);
            model.started(start(&mut turns));
        }
        prop_assert!(model.waiting.is_empty());
        prop_assert!(turns.is_empty());
    }

    /// However many others ask for however dear things, one who asks now and then waits for no more
    /// than what each other group runs once.
    #[test]
    fn a_quiet_group_waits_for_one_turn_of_each_other(
        costs in prop::collection::vec(1_u64..100_000, 1..6),
        asks in 1_usize..20,
    ) {
        let limits = TurnLimits { running_max: 1, waiting_max: 1_000, waiting_of_group_max: 100, ..LIMITS };
        let mut turns = TestTurns::new(limits);
        let keep_busy = |turns: &mut TestTurns| {
            for group in 0..costs.len() {
                while turns.ask(of(group as u8, 0), 0).is_ok() {}
            }
        };
        for _ in 0..asks {
            keep_busy(&mut turns);
            for _ in 0..10 {
                let turn = turns.next().unwrap();
                turns.release(turn.claimant, turn.expected, costs[usize::from(turn.claimant.group)]);
                keep_busy(&mut turns);
            }
            turns.ask(of(100, 0), 1).unwrap();
            let mut before = 0;
            loop {
                let turn = turns.next().unwrap();
                let is_quiet = turn.claimant.group == 100;
                turns.release(turn.claimant, turn.expected, if is_quiet { 1 } else { costs[usize::from(turn.claimant.group)] });
                if is_quiet {
                    break;
                }
                before += 1;
            }
            prop_assert!(before <= costs.len(), "{before} before");
        }
    }
}
