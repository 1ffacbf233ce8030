//! The course of a soak: start, warm up, step after step, the end, the verdict.

use super::checker;
use super::clients::load::{Load, Size};
use super::faults::{Active, Bite, Fault, Part};
use super::report::Report;
use super::schedule::{Schedule, Step, Timed, moments};
use super::truth;
use super::vitals::Vitals;
use super::world::World;
use std::time::{Duration, Instant};

/// How long it may take until everybody is whole.
const WHOLE_PATIENCE: Duration = Duration::from_secs(60);
/// Before the first fault.
const WARM_UP: Duration = Duration::from_secs(5);
/// After so many steps that were not survived there is nothing more to learn.
const FAILURES_MAX: usize = 3;
/// A soak of this length has had a life of a node whose memory could be judged.
const MEMORY_JUDGED_AFTER: Duration = Duration::from_secs(5 * 60);

/// When it is enough.
pub enum Until {
    /// These steps are done.
    Done(Vec<Step>),
    /// Random steps for so long.
    Over(Duration),
}

/// A soak.
pub struct Soak {
    seed: u64,
    world: World,
    load: Load,
    vitals: Vitals,
    report: Report,
    began: Instant,
}

impl Soak {
    /// Starts the world and the load.
    pub async fn start(size: Size, seed: u64) -> Self {
        eprintln!("SOAK_SEED={seed}");
        let began = Instant::now();
        let world = World::start().await;
        eprintln!("{:>6.1} s  everything runs", began.elapsed().as_secs_f64());
        let load = Load::start(&world, size, seed).await;
        eprintln!(
            "{:>6.1} s  {} clients are at work",
            began.elapsed().as_secs_f64(),
            load.clients()
        );
        Self {
            seed,
            world,
            load,
            vitals: Vitals::default(),
            report: Report::default(),
            began,
        }
    }

    fn say(&self, what: impl std::fmt::Display) {
        eprintln!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Does it all; panics when anything did not hold.
    pub async fn run(mut self, until: Until) {
        let available = self.available();
        let patience = self.world.watch(WARM_UP);
        patience.await;
        let whole = self.load.become_whole(&mut self.world, WHOLE_PATIENCE).await;
        self.say(format!("warm: {whole:?}"));
        self.vitals.read_logs(&self.world, false);
        self.vitals.look(&self.world).await;
        let mut failures = 0;
        match until {
            Until::Done(steps) => {
                for mut step in steps {
                    step.faults.retain(|timed| available.contains(&timed.fault));
                    failures += usize::from(!self.step(&step).await);
                    if failures == FAILURES_MAX {
                        break;
                    }
                }
            }
            Until::Over(time) => {
                let mut schedule = Schedule::new(self.seed, available);
                while self.began.elapsed() < time && failures < FAILURES_MAX {
                    let step = schedule.next().expect("a schedule has no end");
                    failures += usize::from(!self.step(&step).await);
                }
            }
        }
        self.finish().await;
    }

    /// What can be had on this machine.
    fn available(&mut self) -> Vec<Fault> {
        let mut faults = Fault::all();
        if let Err(reason) = &self.world.postgres.disk_is_its_own {
            faults.retain(|fault| *fault != Fault::DiskFull);
            let reason = format!("no file system could be mounted for it ({reason})");
            self.report.skipped.push((Fault::DiskFull.kind(), reason));
        }
        if self.world.nodes[1].clock.is_none() {
            faults.retain(|fault| !matches!(fault, Fault::Clock(_)));
            let reason = "there is no libfaketime (FAKETIME_LIBRARY)".to_owned();
            self.report.skipped.push(("clock jumps: node 2".to_owned(), reason));
        }
        faults
    }

    /// One step; whether it was survived.
    async fn step(&mut self, step: &Step) -> bool {
        // What was logged since everybody was whole has no excuse.
        self.vitals.read_logs(&self.world, true);
        let touches = |timed: &Timed| timed.fault.parts().contains(&Part::Postgres);
        self.world.postgres_is_away = step.faults.iter().any(touches);
        let (began, mut active, mut bites) = (Instant::now(), Vec::new(), Vec::new());
        let mut healed = Instant::now();
        active.resize_with(step.faults.len(), || None::<Active>);
        for (at, number, begins) in moments(step) {
            self.world.watch(at.saturating_sub(began.elapsed())).await;
            let timed = step.faults[number];
            if begins {
                self.say(format!("{}, for {:.1} s", timed.fault, timed.lasts.as_secs_f64()));
                active[number] = Some(timed.fault.begin(&mut self.world, &self.load.desk).await);
            } else if let Some(active) = active[number].take() {
                healed = Instant::now();
                let bite = active.end(&mut self.world, &self.load.desk).await;
                let bit = if bite.bit { "bit" } else { "DID NOT BITE" };
                self.say(format!("     over: {}; {bit}: {}", timed.fault, bite.evidence));
                bites.push((timed.fault, bite));
            }
        }
        self.recover(step.calm, &bites, healed).await
    }

    /// Everybody becomes whole, counted from the moment in which the last fault was over; whether they do.
    async fn recover(&mut self, calm: Duration, bites: &[(Fault, Bite)], healed: Instant) -> bool {
        let whole = self.load.become_whole(&mut self.world, WHOLE_PATIENCE).await;
        let whole = whole.map(|()| healed.elapsed());
        self.world.postgres_is_away = false;
        self.vitals.read_logs(&self.world, false);
        match &whole {
            Ok(after) => self.say(format!("     whole after {:.1} s", after.as_secs_f64())),
            Err(lacking) => {
                let names: Vec<_> = bites.iter().map(|(fault, _)| fault.to_string()).collect();
                self.world
                    .complain(format!("not whole after {}: {lacking}", names.join(" with ")));
            }
        }
        let after = whole.ok();
        for (fault, bite) in bites {
            self.report.count(*fault, bite, after);
        }
        self.world.watch(calm).await;
        if after.is_some() {
            self.vitals.look(&self.world).await;
        }
        after.is_some()
    }

    async fn finish(mut self) {
        self.vitals.read_logs(&self.world, true);
        self.say("nobody begins anything new");
        self.load.finish();
        if let Err(lacking) = self.load.become_whole(&mut self.world, WHOLE_PATIENCE).await {
            self.world.complain(format!("not whole at the end: {lacking}"));
        }
        // Until the last change has been shown: then nothing moves any more.
        self.world.watch(Duration::from_secs(1)).await;
        let whole = self.load.become_whole(&mut self.world, WHOLE_PATIENCE).await;
        self.say(format!("the end: {whole:?}"));
        self.vitals.look(&self.world).await;
        self.vitals.finish(&self.world);
        self.vitals.read_logs(&self.world, true);
        let rooms = self.load.desk.rooms.clone();
        let (desk, mut history) = self.load.end().await;
        history.truth = truth::read(&self.world.postgres.url(), &rooms).await;
        self.report.lasted = self.began.elapsed();
        self.report.counts = desk.counts();
        self.report.growths = std::mem::take(&mut self.vitals.growths);
        self.report.explained = std::mem::take(&mut self.vitals.explained);
        self.report.complaints = self.world.complaints.lock().clone();
        self.report.complaints.extend(desk.complaints());
        let verdict = checker::check(&history);
        let text = self.report.text(&history, &verdict);
        eprintln!("{text}\nSOAK_SEED={}", self.seed);
        let well = verdict.violations.is_empty() && self.report.complaints.is_empty();
        assert!(well, "the soak found something; see above");
        assert!(self.report.is_telling(), "too few faults were felt");
        let is_long = self.report.lasted > MEMORY_JUDGED_AFTER;
        assert!(
            !is_long || !self.report.growths.is_empty(),
            "no node's memory was judged"
        );
    }
}
