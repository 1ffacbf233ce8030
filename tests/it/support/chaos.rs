//! A proxy on one link, TCP or Unix in front of TCP or Unix, that can cut, delay, freeze and heal, and lose answers.
//!
//! It runs on the runtime of the test. What it does to a connection it does to both directions, except
//! [`Chaos::LoseAnswers`], which is the nasty case: the server does what it was told, and nobody hears of it. It counts what
//! it did ([`Effects`]), so that a test can tell a fault that nobody met from one that was survived. A connection holds
//! [`LINE_PIECES`] reads in each direction; beyond that the sender waits, as on a network.

use parking_lot::Mutex;
use rand::RngExt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_postgres::config::Host;

/// Reads that are on their way in one direction of a connection, of at most [`PIECE_BYTES`] each.
const LINE_PIECES: usize = 64;
const PIECE_BYTES: usize = 16 * 1024;

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// Passes everything on.
    None,
    /// Passes everything on, later; order is kept, and so is the rate.
    Delay(Duration),
    /// The same with a delay of its own for each piece, between these two.
    Jitter(Duration, Duration),
    /// A black hole: passes nothing on, not even an end, and closes nothing; goes on where it was when healed.
    Freeze,
    /// Cuts all connections and refuses new ones.
    Cut,
    /// Passes requests on and no answers; connections that missed one are cut when healed.
    LoseAnswers,
}

/// What is behind the proxy.
#[derive(Clone, Debug)]
pub enum Upstream {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.ip().to_string(), address.port())
    }
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Connections that were let through.
    pub connections: u64,
    /// Connections that were cut, by [`Chaos::Cut`] or after a lost answer.
    pub cut: u64,
    /// New connections that were closed at once.
    pub refused: u64,
    /// Bytes that came later than they could have: by a delay, or after a freeze.
    pub held: u64,
    /// Bytes of answers that were thrown away.
    pub lost: u64,
}

impl Effects {
    /// What was done since.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            cut: self.cut - earlier.cut,
            refused: self.refused - earlier.refused,
            held: self.held - earlier.held,
            lost: self.lost - earlier.lost,
        }
    }
}

/// What the connections are told. Cuts are counted, so that one that is healed at once is not missed.
#[derive(Clone, Copy)]
struct Weather {
    chaos: Chaos,
    cuts: u64,
    /// How often the connections that were there were forgotten.
    forgotten: u64,
}

/// The proxy.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    effects: Arc<Mutex<Effects>>,
    /// What a database's clients are told, where it is one.
    database: Option<tokio_postgres::Config>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of anything, on a free port.
    pub async fn to(upstream: impl Into<Upstream>) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), upstream).await
    }

    /// Starts one that listens where it is told to.
    pub async fn at(address: SocketAddr, upstream: impl Into<Upstream>) -> Self {
        let upstream = upstream.into();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, forecast) = watch::channel(Weather {
            chaos: Chaos::None,
            cuts: 0,
            forgotten: 0,
        });
        let effects = Arc::new(Mutex::new(Effects::default()));
        let counted = effects.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Refused is: accepted and closed at once.
                if forecast.borrow().chaos == Chaos::Cut {
                    counted.lock().refused += 1;
                    continue;
                }
                counted.lock().connections += 1;
                tokio::spawn(serve(client, upstream.clone(), forecast.clone(), counted.clone()));
            }
        });
        Self {
            address,
            weather,
            effects,
            database: None,
            task,
        }
    }

    /// Starts one in front of a PostgreSQL, which its address names; [`Proxy::url`] is the way through.
    pub async fn start(database_url: &str) -> Self {
        let database: tokio_postgres::Config = database_url.parse().unwrap();
        let port = database.get_ports().first().copied().unwrap_or(5432);
        let upstream = match database.get_hosts().first() {
            Some(Host::Unix(directory)) => Upstream::Unix(directory.join(format!(".s.PGSQL.{port}"))),
            Some(Host::Tcp(host)) => Upstream::Tcp(host.clone(), port),
            None => panic!("the database has no address"),
        };
        let mut proxy = Self::to(upstream).await;
        proxy.database = Some(database);
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database's address through the proxy.
    pub fn url(&self) -> String {
        let database = self.database.as_ref().expect("the proxy is in front of a database");
        let user = database.get_user().unwrap_or("postgres");
        let password = database.get_password().map_or(String::new(), |password| {
            format!(":{}", String::from_utf8_lossy(password))
        });
        let name = database.get_dbname().unwrap();
        format!("postgres://{user}{password}@{}/{name}", self.address)
    }

    /// A Redis' address through the proxy.
    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, chaos: Chaos) {
        self.weather.send_modify(|weather| {
            weather.chaos = chaos;
            weather.cuts += u64::from(chaos == Chaos::Cut);
        });
    }

    /// Everything is well again.
    pub fn heal(&self) {
        self.set(Chaos::None);
    }

    /// Cuts the connections that are there; new ones are served.
    pub fn cut_once(&self) {
        self.set(Chaos::Cut);
        self.heal();
    }

    /// Forgets the connections that are there, as a firewall does: nothing passes on them any more, not even an end.
    /// New ones are served.
    pub fn forget(&self) {
        self.weather.send_modify(|weather| weather.forgotten += 1);
    }

    /// What it has done so far.
    pub fn effects(&self) -> Effects {
        *self.effects.lock()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, in both directions.
#[derive(Clone)]
struct Link {
    weather: watch::Receiver<Weather>,
    effects: Arc<Mutex<Effects>>,
    /// How often connections had been forgotten when this one began.
    forgotten: u64,
}

async fn serve(
    client: TcpStream,
    upstream: Upstream,
    mut weather: watch::Receiver<Weather>,
    effects: Arc<Mutex<Effects>>,
) {
    let cuts = weather.borrow().cuts;
    let mut cut = weather.clone();
    let counted = effects.clone();
    let pass = async {
        // Nothing gets through a black hole, so nobody behind it hears of a new connection.
        if weather.wait_for(|now| now.chaos != Chaos::Freeze).await.is_err() {
            return;
        }
        let forgotten = weather.borrow().forgotten;
        let link = Link {
            weather,
            effects,
            forgotten,
        };
        // Either may have gone already.
        let _: Result<(), _> = client.set_nodelay(true);
        match upstream {
            Upstream::Unix(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    link.relay(client.into_split(), server.into_split()).await;
                }
            }
            Upstream::Tcp(host, port) => {
                if let Ok(server) = TcpStream::connect((host.as_str(), port)).await {
                    let _: Result<(), _> = server.set_nodelay(true);
                    link.relay(client.into_split(), server.into_split()).await;
                }
            }
        }
    };
    tokio::select! {
        heard = cut.wait_for(|now| now.cuts != cuts) => counted.lock().cut += u64::from(heard.is_ok()),
        () = pass => {}
    }
}

impl Link {
    /// Passes bytes in both directions until either ends; dropping the halves closes both.
    async fn relay<R1, W1, R2, W2>(self, client: (R1, W1), server: (R2, W2))
    where
        R1: AsyncRead + Unpin,
        W1: AsyncWrite + Unpin,
        R2: AsyncRead + Unpin,
        W2: AsyncWrite + Unpin,
    {
        tokio::select! {
            () = self.clone().pass(client.0, server.1, false) => {}
            () = self.pass(server.0, client.1, true) => {}
        }
    }

    /// Passes bytes in one direction, until what came before its end is through, or cannot be.
    async fn pass(self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, are_answers: bool) {
        let (queue, line) = mpsc::channel(LINE_PIECES);
        let take = async {
            take(from, queue, &self.weather).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = take => {}
            () = self.give(line, to, are_answers) => {}
        }
    }

    async fn give(&self, mut line: mpsc::Receiver<Piece>, mut to: impl AsyncWrite + Unpin, are_answers: bool) {
        let mut weather = self.weather.clone();
        loop {
            let piece = line.recv().await;
            let bytes = piece.as_ref().map_or(0, |piece| piece.bytes.len() as u64);
            if let Some(due) = piece.as_ref().and_then(|piece| piece.due) {
                self.effects.lock().held += bytes;
                tokio::time::sleep_until(due).await;
            }
            if weather.borrow().chaos == Chaos::Freeze {
                self.effects.lock().held += bytes;
            }
            // A connection that was forgotten waits until the proxy ends.
            let is_through = |now: &Weather| now.chaos != Chaos::Freeze && now.forgotten == self.forgotten;
            let thawed = weather.wait_for(is_through).await;
            match thawed.map(|now| now.chaos) {
                Ok(Chaos::LoseAnswers) if are_answers => {}
                Ok(_) => {
                    let Some(piece) = piece else { return };
                    if to.write_all(&piece.bytes).await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(_) => return,
            }
            self.effects.lock().lost += bytes;
            let over = weather.wait_for(|now| now.chaos != Chaos::LoseAnswers);
            let discard = async {
                while let Some(piece) = line.recv().await {
                    self.effects.lock().lost += piece.bytes.len() as u64;
                }
                std::future::pending::<()>().await;
            };
            // An error is the end of the proxy, which is the end of the connection, too.
            tokio::select! {
                _ = over => {}
                () = discard => {}
            }
            self.effects.lock().cut += 1;
            return;
        }
    }
}

/// What was read at once, and when it is to be passed on, if that is not now.
struct Piece {
    bytes: Vec<u8>,
    due: Option<Instant>,
}

/// Reads until the end.
async fn take(mut from: impl AsyncRead + Unpin, queue: mpsc::Sender<Piece>, weather: &watch::Receiver<Weather>) {
    let mut buffer = vec![0; PIECE_BYTES];
    // A piece does not overtake the one before, whose delay may have been longer.
    let mut latest = Instant::now();
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let chaos = weather.borrow().chaos;
        let delay = match chaos {
            Chaos::Delay(delay) => Some(delay),
            Chaos::Jitter(least, most) => Some(rand::rng().random_range(least..=most)),
            _ => None,
        };
        let due = delay.map(|delay| latest.max(Instant::now() + delay));
        latest = due.unwrap_or(latest);
        let bytes = buffer[..length].to_vec();
        if queue.send(Piece { bytes, due }).await.is_err() {
            return;
        }
    }
}
