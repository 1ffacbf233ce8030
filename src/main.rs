//! The `parlance` program: reads the arguments and the configuration, starts the log, does what it was asked to do, and
//! ends with an exit code that says whether that worked. Everything else is in the library.

use clap::{Parser, Subcommand};
use parlance::analytics::{self, CountsReport, Difference, MaintenanceError};
use parlance::app::App;
use parlance::auth::{self, Proof};
use parlance::config::Config;
use parlance::database::Database;
use parlance::demo::{self, DemoPlan, Loaded};
use parlance::http::Assets;
use parlance::ids::{Plan, TenantId};
use parlance::probe::{self, HealthQuestion};
use parlance::search::{IndexReport, SearchIndex};
use parlance::signals::StopSignals;
use parlance::telemetry;
use parlance::tenants::{self, PlanChanged, TenantPlan};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::error::Error;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use uuid::Uuid;

/// A realtime chat server: durable before acknowledged, resume without a cliff.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Serve people and programs until told to stop (also without a word).
    Serve,
    /// Bring the database to this version's schema and end.
    Migrate,
    /// Print the configuration that would be used, without its secrets.
    Config {
        /// Print the page about all settings instead: docs/configuration.md.
        #[arg(long, conflicts_with = "example")]
        markdown: bool,
        /// Print a file with all defaults instead: .env.example.
        #[arg(long)]
        example: bool,
    },
    /// Ask the node that listens on BIND whether it lives, and fail unless it does.
    Health {
        /// Ask whether it should get work, not only whether it lives.
        #[arg(long)]
        ready: bool,
    },
    /// Write the page's files into a directory, for a proxy that serves them, and print where they are.
    Assets {
        /// Its `static/<hash>` will have them; other versions stay.
        directory: PathBuf,
    },
    /// Change what all nodes of a database share.
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Look after the index of words that search uses, also while nodes serve.
    #[command(subcommand)]
    Search(SearchCommand),
    /// Look after the counts of analytics, also while nodes serve.
    #[command(subcommand)]
    Analytics(AnalyticsCommand),
    /// See and change what tenants have from the operator, also while nodes serve.
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Make a believable year of a workspace in an empty database, serve it, and print how to log in.
    Demo(DemoArguments),
    /// Run only the private PostgreSQL, print its address, and stop it again when told to stop.
    Database,
}

#[derive(Clone, Subcommand)]
enum SecretsCommand {
    /// Make JWT_SECRET the secret of all nodes; JWT_SECRET_PREVIOUS is the one of before.
    Rotate {
        /// Without the one of before, which is lost.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum TenantsCommand {
    /// Print every tenant: its id, its plan, how many people it has, its name.
    List,
    /// Give a tenant a plan: the quota of all its people together, and the highest tier its admins may give.
    SetPlan {
        /// The id of the tenant.
        tenant: Uuid,
        /// `regular`, or `premium`.
        #[arg(value_parser = parse_plan)]
        plan: Plan,
    },
}

fn parse_plan(word: &str) -> Result<Plan, String> {
    Plan::parse(word).ok_or_else(|| "regular, or premium".to_owned())
}

#[derive(Clone, Copy, clap::Args)]
struct DemoArguments {
    /// Another seed is another year.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much is said in it.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    messages: u64,
    /// How many people and agents there are.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(10..=500))]
    people: u16,
    /// Only make it, and end.
    #[arg(long)]
    load_only: bool,
}

#[derive(Clone, Copy, Subcommand)]
enum SearchCommand {
    /// Compare the index with the messages; exit code 1 where they differ.
    Verify,
    /// Make the index anew. Interrupted, it is finished by the nodes.
    Rebuild,
}

#[derive(Clone, Copy, Subcommand)]
enum AnalyticsCommand {
    /// Compare the counts with the messages and print each difference; exit code 1 where there are some.
    Verify {
        /// Only those of this tenant.
        #[arg(long, value_name = "ID")]
        tenant: Option<Uuid>,
    },
    /// Make the counts anew. Interrupted, the next one goes on; a second one waits.
    Rebuild {
        /// Only those of this tenant.
        #[arg(long, value_name = "ID")]
        tenant: Option<Uuid>,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    let code = match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        // An operator looks here in any case, whether the log has started or not.
        Err(error) if telemetry::print_error(&format!("parlance: {error}")) => exit_code(&*error),
        Err(_) => ExitCode::from(2),
    };
    telemetry::flush();
    code
}

/// A wrong word is 2, as where an argument cannot be read; all else that failed is 1.
fn exit_code(error: &(dyn Error + 'static)) -> ExitCode {
    match error.downcast_ref() {
        Some(MaintenanceError::UnknownTenant(_)) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    if let Command::Assets { directory } = command {
        let home = Assets::load().publish(&directory)?;
        return Ok(writeln!(std::io::stdout(), "{}", home.display())?);
    }
    if let Command::Config { markdown, example } = command {
        let text = if markdown {
            Config::markdown()
        } else if example {
            Config::example()
        } else {
            Config::from_env()?.to_string()
        };
        return Ok(write!(std::io::stdout(), "{text}")?);
    }
    let config = Config::from_env()?;
    if let Command::Health { ready } = command {
        let question = if ready {
            HealthQuestion::Ready
        } else {
            HealthQuestion::Live
        };
        let reply = probe::ask(config.bind, question)?;
        return Ok(writeln!(std::io::stdout(), "{reply}")?);
    }
    telemetry::init(&config)?;
    // What FAILPOINTS says shall go wrong, in test builds.
    #[cfg(feature = "failpoints")]
    let _faults = fail::FailScenario::setup();
    actix::System::new().block_on(async {
        match command {
            Command::Migrate => migrate(&config).await,
            Command::Database => database(&config).await,
            Command::Secrets {
                command: SecretsCommand::Rotate { force },
            } => rotate_secret(&config, if force { Proof::Waived } else { Proof::Needed }).await,
            Command::Search(command) => search(&config, command).await,
            Command::Analytics(command) => count(&config, command).await,
            Command::Tenants(command) => tenants(&config, command).await,
            Command::Demo(arguments) => Box::pin(demo(config, arguments)).await,
            // What does not need a runtime has been done.
            _ => Box::pin(serve(config)).await,
        }
    })
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    // Before anything is started, so that an early Ctrl-C stops what has been.
    let signals = StopSignals::listen()?;
    raise_descriptor_limit();
    let Some(app) = unless_stopped(&signals, App::build(config)).await else {
        return Ok(());
    };
    let app = app?;
    announce(format!("Parlance is at http://{}", app.address()));
    Ok(Box::pin(app.run_until(signals.clone().stop(), signals.hurry())).await?)
}

/// Does `work`, unless the process is told to stop meanwhile. What was half made is dropped, and a
/// private PostgreSQL ends with it.
async fn unless_stopped<T>(signals: &StopSignals, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = signals.clone().stop() => {
            tracing::info!("told to stop while starting");
            None
        }
    }
}

/// Prints a line to standard output, on a thread that nobody waits for: where nobody reads, that is
/// no reason to wait or to end.
fn announce(line: String) {
    let print = move || {
        if let Err(error) = writeln!(std::io::stdout(), "{line}") {
            tracing::info!(%error, "standard output does not take: {line}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("announce".to_owned()).spawn(print) {
        tracing::warn!(%error, "the address could not be printed");
    }
}

/// Each socket takes two descriptors; the soft limit of many systems is only 1,024. What the hard one allows is found out
/// by the node when it is built.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn migrate(config: &Config) -> Result<(), Box<dyn Error>> {
    let signals = StopSignals::listen()?;
    match unless_stopped(&signals, Database::open(config)).await {
        Some(database) => database?.close().await,
        None => return Err("stopped before the database was migrated".into()),
    }
    Ok(())
}

async fn rotate_secret(config: &Config, proof: Proof) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config).await?;
    let rotated = auth::rotate_secret(config, &database, proof).await;
    database.close().await;
    rotated?;
    Ok(writeln!(
        std::io::stdout(),
        "This JWT_SECRET is that of all nodes now. Restart them with it; see docs/operations.md, Rotating secrets."
    )?)
}

async fn database(config: &Config) -> Result<(), Box<dyn Error>> {
    let signals = StopSignals::listen()?;
    let Some(database) = unless_stopped(&signals, Database::open(config)).await else {
        return Ok(());
    };
    let database = database?;
    let address = database
        .private_url()
        .ok_or("DATABASE_URL is set, so there is nothing to run")?;
    announce(address);
    signals.stop().await;
    database.close().await;
    Ok(())
}

async fn demo(config: Config, arguments: DemoArguments) -> Result<(), Box<dyn Error>> {
    let signals = StopSignals::listen()?;
    let plan = DemoPlan {
        seed: arguments.seed,
        messages: arguments.messages,
        people: usize::from(arguments.people),
        until: chrono::Utc::now(),
    };
    let Some(loaded) = unless_stopped(&signals, load_demo(&config, &plan)).await else {
        return Err("stopped before the year was made; nothing of it is there".into());
    };
    let what = match loaded? {
        Loaded::Made {
            people,
            conversations,
            messages,
        } => format!("{messages} messages of {people} people in {conversations} conversations."),
        Loaded::Found => "The year that is there already.".to_owned(),
    };
    let log_in = format!("Log in as {} with the password: {}", demo::EMAIL, demo::PASSWORD);
    writeln!(std::io::stdout(), "{what}\n{log_in}")?;
    match arguments.load_only {
        true => Ok(()),
        false => Box::pin(serve(config)).await,
    }
}

async fn load_demo(config: &Config, plan: &DemoPlan) -> Result<Loaded, Box<dyn Error>> {
    let database = Database::open(config).await?;
    let progress = Progress::new(std::io::stderr().is_terminal());
    let loaded = demo::load(&database, plan, |messages| progress.show(messages, plan.messages)).await;
    database.close().await;
    Ok(loaded?)
}

async fn tenants(config: &Config, command: TenantsCommand) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config).await?;
    // The first line that standard output does not take is the last.
    let mut written = Ok(());
    let mut print = |line: String| {
        if written.is_ok() {
            written = writeln!(std::io::stdout(), "{line}");
        }
    };
    let result = match command {
        TenantsCommand::List => {
            let show = |TenantPlan { id, name, plan, people }: &TenantPlan| {
                print(format!("{id}  {:<7}  {people:>6}  {name}", plan.as_str()));
            };
            tenants::list_plans(&database, show).await
        }
        TenantsCommand::SetPlan { tenant, plan } => {
            let changed = tenants::set_plan(&database, TenantId(tenant), plan).await;
            changed.map(|PlanChanged { name, lowered }| {
                print(format!(
                    "{name} has the plan {plan}; {lowered} of its people had a higher tier."
                ));
            })
        }
    };
    database.close().await;
    result?;
    Ok(written?)
}

async fn search(config: &Config, command: SearchCommand) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config).await?;
    let index = SearchIndex::new(database.clone());
    let progress = Progress::new(std::io::stderr().is_terminal());
    let show = |report: &IndexReport| progress.show(report.messages, report.total);
    let result = match command {
        SearchCommand::Verify => index.verify(show).await,
        SearchCommand::Rebuild => index.rebuild(show).await,
    };
    database.close().await;
    let report = result?;
    let IndexReport {
        messages,
        wrong,
        superfluous,
        ..
    } = report;
    match (command, report.first) {
        (SearchCommand::Rebuild, _) => writeln!(std::io::stdout(), "{messages} messages indexed")?,
        (_, None) if superfluous == 0 => writeln!(std::io::stdout(), "{messages} messages compared, all right")?,
        (_, first) => {
            let first = first.map_or(String::new(), |(conversation, seq)| {
                format!("; the first is message {seq} of conversation {conversation}")
            });
            return Err(format!(
                "{messages} messages compared: {wrong} are missing or have other words{first}; {superfluous} entries \
                 without a message. `parlance search rebuild` mends it"
            )
            .into());
        }
    }
    Ok(())
}

async fn count(config: &Config, command: AnalyticsCommand) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config).await?;
    let progress = Progress::new(std::io::stderr().is_terminal());
    let show = |report: &CountsReport| progress.show(report.messages, report.total);
    let mut written = Ok(());
    let print = |difference: &Difference| {
        // The first line that standard output does not take is the last.
        if written.is_ok() {
            written = writeln!(std::io::stdout(), "{difference}");
        }
    };
    let result = match command {
        AnalyticsCommand::Verify { tenant } => analytics::verify(&database, tenant.map(TenantId), show, print).await,
        AnalyticsCommand::Rebuild { tenant } => analytics::rebuild(&database, tenant.map(TenantId), show).await,
    };
    database.close().await;
    let CountsReport {
        messages, differences, ..
    } = result?;
    written?;
    match command {
        AnalyticsCommand::Rebuild { .. } => writeln!(std::io::stdout(), "{messages} messages counted")?,
        AnalyticsCommand::Verify { .. } if differences == 0 => {
            writeln!(std::io::stdout(), "{messages} messages compared, all right")?;
        }
        AnalyticsCommand::Verify { .. } => {
            return Err(format!(
                "{messages} messages compared: {differences} differences. `parlance analytics rebuild` mends them"
            )
            .into());
        }
    }
    Ok(())
}

/// A line on a terminal that says how far it is, and nothing elsewhere.
struct Progress {
    is_shown: bool,
    percent: Cell<u64>,
}

impl Progress {
    const fn new(is_shown: bool) -> Self {
        let percent = Cell::new(u64::MAX);
        Self { is_shown, percent }
    }

    fn show(&self, done: u64, total: u64) {
        let percent = (100 * done / total.max(1)).min(100);
        if self.is_shown && self.percent.replace(percent) != percent {
            const WIDTH: usize = 40;
            let bar = "#".repeat(usize::try_from(percent).unwrap_or(0) * WIDTH / 100);
            let end = if percent == 100 { "\n" } else { "" };
            // Only for the eye: a terminal that is gone is no reason to stop.
            let written = write!(
                std::io::stderr(),
                "\r[{bar:<WIDTH$}] {percent:3} %  {done} of {total}{end}"
            );
            drop(written);
        }
    }
}
