//! A proxy in front of PostgreSQL that can cut, delay, freeze and heal, and lose answers.
//!
//! It runs on the runtime of the test. What it does to a connection it does to both directions, except
//! [`Chaos::LoseAnswers`], which is the nasty case: PostgreSQL does what it was told, and nobody hears of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::config::Host;

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// Passes everything on.
    None,
    /// Passes everything on, later.
    Delay(Duration),
    /// Passes nothing on and closes nothing; goes on where it was when healed.
    Freeze,
    /// Cuts all connections and refuses new ones.
    Cut,
    /// Passes requests on and no answers; connections that missed one are cut when healed.
    LoseAnswers,
}

/// What the connections are told. Cuts are counted, so that one that is healed at once is not missed.
#[derive(Clone, Copy)]
struct Weather {
    chaos: Chaos,
    cuts: u64,
}

/// The proxy.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    upstream: tokio_postgres::Config,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of a database.
    pub async fn start(database_url: &str) -> Self {
        let upstream: tokio_postgres::Config = database_url.parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, forecast) = watch::channel(Weather {
            chaos: Chaos::None,
            cuts: 0,
        });
        let target = upstream.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Refused is: accepted and closed at once.
                if forecast.borrow().chaos != Chaos::Cut {
                    tokio::spawn(serve(client, target.clone(), forecast.clone()));
                }
            }
        });
        Self {
            address,
            weather,
            upstream,
            task,
        }
    }

    /// The database's address through the proxy.
    pub fn url(&self) -> String {
        let user = self.upstream.get_user().unwrap_or("postgres");
        let password = self
            .upstream
            .get_password()
            .map(|password| String::from_utf8_lossy(password).into_owned());
        let password = password.map_or(String::new(), |password| format!(":{password}"));
        format!(
            "postgres://{user}{password}@{}/{}",
            self.address,
            self.upstream.get_dbname().unwrap()
        )
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, upstream: tokio_postgres::Config, weather: watch::Receiver<Weather>) {
    client.set_nodelay(true).unwrap();
    let port = upstream.get_ports().first().copied().unwrap_or(5432);
    match upstream.get_hosts().first() {
        Some(Host::Unix(directory)) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            if let Ok(server) = UnixStream::connect(path).await {
                relay(client.into_split(), server.into_split(), weather).await;
            }
        }
        Some(Host::Tcp(host)) => {
            if let Ok(server) = TcpStream::connect((host.as_str(), port)).await {
                server.set_nodelay(true).unwrap();
                relay(client.into_split(), server.into_split(), weather).await;
            }
        }
        None => panic!("the database has no address"),
    }
}

/// Passes bytes in both directions until either ends, or the mode cuts them; dropping the halves closes both.
async fn relay<R1, W1, R2, W2>(client: (R1, W1), server: (R2, W2), weather: watch::Receiver<Weather>)
where
    R1: AsyncRead + Unpin,
    W1: AsyncWrite + Unpin,
    R2: AsyncRead + Unpin,
    W2: AsyncWrite + Unpin,
{
    let (requests, answers, mut cut) = (weather.clone(), weather.clone(), weather);
    let cuts = cut.borrow().cuts;
    tokio::select! {
        _ = cut.wait_for(|weather| weather.cuts != cuts) => {}
        () = pass(client.0, server.1, requests, false) => {}
        () = pass(server.0, client.1, answers, true) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    are_answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let thawed = weather
            .wait_for(|weather| weather.chaos != Chaos::Freeze)
            .await
            .map(|weather| weather.chaos);
        match thawed {
            Ok(Chaos::Delay(delay)) => tokio::time::sleep(delay).await,
            Ok(Chaos::LoseAnswers) if are_answers => {
                // An error is the end of the proxy, which is the end of the connection, too.
                let _: Result<_, _> = weather.wait_for(|weather| weather.chaos != Chaos::LoseAnswers).await;
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
